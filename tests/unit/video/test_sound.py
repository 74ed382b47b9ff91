"""The sound of a file lies on the clock of its pictures, as players play it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.sync.talking import clicks, mouth_frames, write_talk

from marlin_sdk.errors import NoSoundError, VideoDecodeError, VideoNotFoundError
from marlin_sdk.video.reader import open_video
from marlin_sdk.video.sound import SOUND_RATE, Sound, read_sound

CLICKS_S = [0.5, 1.25]
FRAMES = mouth_frames(2, 0)


def click_times_s(sound: Sound) -> list[float]:
    """When the clicks begin."""
    loud = np.flatnonzero(np.abs(sound.samples) > 0.2)
    begins = loud[np.diff(loud, prepend=-SOUND_RATE) > SOUND_RATE // 10]
    return [sound.start_s + float(begin) / SOUND_RATE for begin in begins]


@pytest.mark.parametrize("layout", ["mono", "stereo"])
@pytest.mark.parametrize("rate", [8000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_samples_lie_at_their_times_at_every_rate(tmp_path: Path, rate: int, layout: str) -> None:
    samples = clicks(2, CLICKS_S, rate)
    path = write_talk(tmp_path / "talk.mkv", FRAMES, samples, rate=rate, layout=layout, codec="pcm_s16le")
    sound = read_sound(path)
    assert sound.samples.dtype == np.float32
    assert sound.start_s == pytest.approx(0, abs=0.001)
    assert sound.end_s == pytest.approx(2, abs=0.01)
    assert click_times_s(sound) == pytest.approx(CLICKS_S, abs=0.002)
    assert 0.5 < np.abs(sound.samples).max() <= 1


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "ts"])
def test_samples_that_an_encoder_adds_are_left_out(tmp_path: Path, suffix: str) -> None:
    path = write_talk(tmp_path / f"talk.{suffix}", FRAMES, clicks(2, CLICKS_S, 48_000), rate=48_000)
    with open_video(path) as reader:
        first_s = next(iter(reader)).time_s
    assert [time_s - first_s for time_s in click_times_s(read_sound(path))] == pytest.approx(CLICKS_S, abs=0.01)


def test_sound_that_starts_late_is_late_on_the_clock_of_the_pictures(tmp_path: Path) -> None:
    for suffix in ("mp4", "mkv"):
        path = write_talk(tmp_path / f"talk.{suffix}", FRAMES, clicks(2, CLICKS_S, 16_000), sound_start_s=0.4)
        sound = read_sound(path)
        assert click_times_s(sound) == pytest.approx([time_s + 0.4 for time_s in CLICKS_S], abs=0.01)


def test_edit_list_that_delays_the_picture_leaves_the_sound_where_it_is(tmp_path: Path) -> None:
    path = write_talk(tmp_path / "talk.mp4", FRAMES, clicks(2, CLICKS_S, 16_000), picture_start_s=0.4)
    assert b"elst" in path.read_bytes()
    with open_video(path) as reader:
        assert next(iter(reader)).time_s == pytest.approx(0.4, abs=0.001)
    assert click_times_s(read_sound(path)) == pytest.approx(CLICKS_S, abs=0.01)


def test_a_gap_is_silent_and_what_follows_keeps_its_time(tmp_path: Path) -> None:
    path = write_talk(
        tmp_path / "talk.mkv", FRAMES, clicks(2, CLICKS_S, 16_000), codec="pcm_s16le", gap_s=0.5
    )  # fmt: skip
    sound = read_sound(path)
    assert click_times_s(sound) == pytest.approx([0.5, 1.75], abs=0.002)
    assert sound.end_s == pytest.approx(2.5, abs=0.01)


def test_bytes_are_read_like_their_file(tmp_path: Path) -> None:
    path = write_talk(tmp_path / "talk.mp4", FRAMES, clicks(2, CLICKS_S, 16_000))
    np.testing.assert_array_equal(read_sound(path.read_bytes()).samples, read_sound(path).samples)


def test_what_is_no_sound_is_said(tmp_path: Path) -> None:
    mute = write_talk(tmp_path / "mute.mp4", FRAMES, None)
    with pytest.raises(NoSoundError, match=r"mute\.mp4 has no sound that can be decoded, only video streams"):
        read_sound(mute)
    with pytest.raises(VideoNotFoundError, match="no such video"):
        read_sound(tmp_path / "none.mp4")
    text = tmp_path / "list.mp4"
    text.write_bytes(b"#EXTM3U\nfile.ts\n")
    with pytest.raises(VideoDecodeError, match="playlist"):
        read_sound(text)
    text.write_bytes(b"nothing of the kind")
    with pytest.raises(VideoDecodeError, match="cannot be opened"):
        read_sound(text)


def test_broken_packets_are_counted(tmp_path: Path) -> None:
    path = write_talk(tmp_path / "talk.ts", FRAMES, clicks(2, CLICKS_S, 16_000), codec="mp2")
    whole = read_sound(path)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for at in range(len(data) // 2, len(data) // 2 + 20_000):
        data[at] = int(rng.integers(256))
    damaged = read_sound(bytes(data))
    assert click_times_s(damaged)[0] == pytest.approx(0.5, abs=0.05) or damaged.warnings
    assert len(damaged.samples) <= len(whole.samples) + SOUND_RATE
