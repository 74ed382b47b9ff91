"""Real files that went wrong, with the values that ffprobe or their making gives. Made from examples/astronaut.mp4."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import pytest
from tests.conftest import ROOT
from tests.making import lay, noise, write_video

from marlin_sdk.clips.windows import sample_by_time
from marlin_sdk.video.frames import Frame, VideoReader
from marlin_sdk.video.reader import open_video

VIDEOS = ROOT / "tests" / "fixtures" / "videos"


def read(path: Path) -> tuple[list[Frame], VideoReader]:
    with open_video(path) as reader:
        return list(reader), reader


def test_avi_with_b_frames_has_steady_times() -> None:
    frames, reader = read(VIDEOS / "h264_bframes.avi")
    assert [frame.time_s for frame in frames] == pytest.approx([index / 25 for index in range(100)])
    assert (reader.warnings, reader.is_damaged) == ([], False)
    assert [frame.index for frame in sample_by_time(frames, 25)][:16] == list(range(16))
    assert next(frame.index for frame in frames if frame.time_s >= 1) == 25


def test_slow_avi_does_not_drift() -> None:
    frames, reader = read(VIDEOS / "slow2fps.avi")
    assert [frame.time_s for frame in frames] == pytest.approx([index / 2 for index in range(41)])
    assert reader.warnings == []


def test_recording_without_a_rate_is_measured_before_and_after() -> None:
    with open_video(VIDEOS / "rec_nodd.webm") as reader:
        assert reader.fps == pytest.approx(30.2, abs=0.3)
        frames = list(reader)
    assert len(frames) == 100
    assert reader.fps == pytest.approx(30.2, abs=0.3)
    assert not reader.is_damaged


def test_bare_stream_says_its_rate_itself() -> None:
    frames, reader = read(VIDEOS / "raw30.h264")
    assert reader.fps == 30
    assert frames[-1].time_s == pytest.approx(119 / 30)
    assert len(list(sample_by_time(frames, 30))) == 120


def test_fragmented_mp4_that_breaks_off_says_so() -> None:
    frames, reader = read(VIDEOS / "cut_frag.mp4")
    assert len(frames) == 50
    assert reader.is_damaged
    assert any("7,828 bytes past the end" in warning for warning in reader.warnings)


def test_default_of_two_streams_is_read_with_a_warning() -> None:
    frames, reader = read(VIDEOS / "two_default.mkv")
    assert (frames[0].width, frames[0].height) == (480, 360)
    assert reader.warnings == ["2 video streams; stream 1, the default one, is read"]


def test_hole_is_damage_and_has_its_times() -> None:
    frames, reader = read(VIDEOS / "gap_h265.mkv")
    assert reader.is_damaged
    assert reader.warnings == ["frames are missing from 1.50 to 2.90 s"]
    assert [round(frame.missing_s, 2) for frame in (frames[0], frames[-1])] == [0, 1.4]
    (before,) = [frame for frame, later in pairwise(frames) if later.missing_s > frame.missing_s]
    assert before.time_s + before.duration_s == pytest.approx(1.503)
    assert reader.fps == 25


def test_gif_with_a_hole_ends_early_and_says_so() -> None:
    frames, reader = read(VIDEOS / "gap_anim.gif")
    assert len(frames) == 40
    assert reader.is_damaged
    assert "no GIF block begins there" in reader.warnings[0]


def zeroed(path: Path, first: float, last: float) -> Path:
    """A copy with a stretch of its bytes zeroed."""
    data = bytearray(path.read_bytes())
    begin, end = int(len(data) * first), int(len(data) * last)
    data[begin:end] = bytes(end - begin)
    damaged = path.with_name(f"damaged{path.suffix}")
    damaged.write_bytes(data)
    return damaged


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        (".mkv", "libx264"),
        (".mkv", "libx265"),
        (".ts", "libx264"),
        (".mp4", "libx264"),
        (".flv", "libx264"),
        (".gif", "gif"),
    ],
)
def test_stretch_of_zeros_in_the_middle_is_damage(tmp_path: Path, suffix: str, codec: str) -> None:
    options = {"g": "25", "x265-params": "log-level=none:keyint=25"} if codec == "libx265" else {"g": "25"}
    pix_fmt = "rgb8" if codec == "gif" else "yuv420p"
    moving = [still // 2 for still in noise(100, 96, 128)]
    whole = write_video(tmp_path / f"v{suffix}", moving, codec=codec, options=options, pix_fmt=pix_fmt)
    assert not read(whole)[1].is_damaged
    frames, reader = read(zeroed(whole, 0.4, 0.6))
    assert len(frames) < 100
    assert reader.is_damaged, reader.warnings


def test_variable_frame_rate_is_no_damage(tmp_path: Path) -> None:
    """A screen that stands still for a while, perhaps: no frame is taken from anywhere, and nothing is called lost."""
    shown_ms = [*range(0, 1000, 40), *range(4000, 5000, 40)]
    path = write_video(tmp_path / "v.mkv", noise(len(shown_ms), 64, 64), times=shown_ms)
    frames, reader = read(path)
    said = "no frames from 1.00 to 4.00 s: the picture stands still, or frames were lost"
    assert (reader.is_damaged, reader.warnings) == (False, [said])
    assert frames[24].duration_s == pytest.approx(3.04, abs=2e-3)
    assert {frame.missing_s for frame in frames} == {0}


def test_slow_pictures_are_no_gaps(tmp_path: Path) -> None:
    """A slide a second, in a stream that declares 25 frames a second."""
    path = write_video(tmp_path / "v.mkv", noise(20, 64, 64), times=list(range(0, 20_000, 1000)))
    frames, reader = read(path)
    assert (len(frames), reader.is_damaged, reader.warnings) == (20, False, [])


def test_packets_that_give_no_picture_are_damage(tmp_path: Path) -> None:
    """HEVC decoders leave out pictures whose references are missing, without an error."""
    options = {"x265-params": "log-level=none"}
    path = write_video(tmp_path / "v.mkv", noise(60, 96, 128), codec="libx265", options=options)
    with av.open(str(path)) as container:
        positions = [packet.pos for packet in container.demux(video=0) if packet.size and packet.pos]
    data = bytearray(path.read_bytes())
    for position in positions[50:52]:
        data[position + 10 : position + 20] = b"\xff" * 10
    frames, reader = read(lay(tmp_path / "damaged.mkv", bytes(data)))
    assert len(frames) < 58
    assert reader.is_damaged, reader.warnings
