"""Real files through the whole pipeline: what is read, what it costs, what a broken one gives."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from tests.integration.loopback import Loopback
from tests.making import TINY, PaintedFace, lay, noise, painted, write_video
from tests.patience import HANG_S

from marlin_sdk import Marlin
from marlin_sdk.clips.windows import sample_by_index
from marlin_sdk.errors import NoFaceError, VideoDecodeError
from marlin_sdk.video import container
from marlin_sdk.video.orientation import Orientation
from marlin_sdk.video.reader import open_video


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The timestamp of each picture that is converted to RGB, in the order in which that happens."""
    converted: list[int] = []
    convert = container._convert

    def watch(picture: VideoFrame, shown: Orientation) -> NDArray[np.uint8]:
        converted.append(picture.pts or 0)
        return convert(picture, shown)

    monkeypatch.setattr(container, "_convert", watch)
    return iter([converted])


def video32(path: Path, num_frames: int, **options: object) -> Path:
    """A video of the tiny model's own size, in which every frame differs."""
    return write_video(path, noise(num_frames, 32, 32), **options)  # type: ignore[arg-type]


def test_sixty_frames_give_two_windows_and_ten_give_one(tiny: Marlin, tmp_path: Path) -> None:
    sixty = tiny.extract(video32(tmp_path / "60.mp4", 60))
    ten = tiny.extract(video32(tmp_path / "10.mp4", 10))

    assert sixty.features.shape == (2, 32)
    np.testing.assert_array_equal(sixty.frame_index[0], np.arange(0, 32, 2))
    np.testing.assert_array_equal(sixty.frame_index[1], [*range(32, 60, 2), 58, 58])
    assert sixty.frame_valid.sum(axis=1).tolist() == [16, 14]
    assert sixty.start_s.tolist() == pytest.approx([0, 1.28])
    assert sixty.end_s.tolist() == pytest.approx([1.24, 2.36])
    assert ten.features.shape == (1, 32)
    np.testing.assert_array_equal(ten.frame_index[0], [0, 2, 4, 6, 8] + [8] * 11)
    assert ten.frame_valid.sum() == 5


def test_only_sampled_frames_are_converted(tiny: Marlin, tmp_path: Path, conversions: Iterator[list[int]]) -> None:
    converted = next(conversions)
    path = video32(tmp_path / "v.mkv", 100)

    tiny.extract(path)

    assert converted == [40 * index for index in range(0, 100, 2)]  # Matroska counts milliseconds


def test_compat_converts_no_frame_that_its_windows_do_not_hold(
    tiny: Marlin, tmp_path: Path, conversions: Iterator[list[int]]
) -> None:
    converted = next(conversions)

    rows = tiny.extract(video32(tmp_path / "v.mkv", 100), compat="marlin_pytorch").frame_index

    assert rows.shape == (3, 16)
    assert sorted(converted) == sorted({40 * int(index) for index in rows.ravel()})


def test_resampling_by_time_converts_a_repeated_frame_once(
    tiny: Marlin, tmp_path: Path, conversions: Iterator[list[int]]
) -> None:
    converted = next(conversions)

    result = tiny.extract(video32(tmp_path / "v.mkv", 40), fps=50.0)

    assert result.frame_index.shape == (5, 16)
    assert converted == [40 * index for index in range(40)]


def test_overlapping_windows_convert_each_frame_once(
    tiny: Marlin, tmp_path: Path, conversions: Iterator[list[int]]
) -> None:
    converted = next(conversions)

    assert len(tiny.extract(video32(tmp_path / "v.mkv", 64), stride=4).features) == 5
    assert len(converted) == 32


PEAK = """
import resource, sys
from marlin_sdk.video.reader import open_video
from marlin_sdk.clips.windows import sample_by_index
import numpy, av, cv2

def read(path):
    with open_video(path) as reader:
        return sum(frame.rgb.shape[0] > 0 for frame in sample_by_index(reader, 2))

read(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = read(sys.argv[2])
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    still = np.zeros((480, 640, 3), np.uint8)
    short = write_video(tmp_path / "short.mp4", [still] * 60, options={"preset": "ultrafast"})
    long = write_video(tmp_path / "long.mp4", (still for _ in range(600)), options={"preset": "ultrafast"})

    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(short), str(long)], capture_output=True, text=True, check=True, timeout=HANG_S
    )

    count, grown_kib = map(int, ran.stdout.split())
    assert count == 300
    # 270 more frames are looked at: 237 MiB of RGB. What grows is the index of the file.
    assert grown_kib < 20 * 1024


def test_windows_of_a_stream_come_before_the_video_has_ended(tiny: Marlin, tmp_path: Path) -> None:
    class Counted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 4096, 4096))

    content = write_video(
        tmp_path / "v.ts", noise(300, 32, 32), options={"bf": "0", "tune": "zerolatency"}
    ).read_bytes()
    source = Counted(content)

    first = next(tiny.stream(source))

    assert first.frame_index.tolist() == list(range(0, 32, 2))
    assert source.tell() < len(content)


def test_a_video_that_breaks_off_gives_the_windows_before_and_a_warning(tiny: Marlin, tmp_path: Path) -> None:
    path = video32(tmp_path / "v.mp4", 200, container_options={"movflags": "faststart"})
    whole = tiny.extract(path)
    broken = lay(tmp_path / "broken.mp4", path.read_bytes()[: path.stat().st_size * 6 // 10])

    result = tiny.extract(broken)

    assert 2 <= len(result.features) < len(whole.features)
    full = int(result.frame_valid.all(axis=1).sum())
    assert full >= 2
    np.testing.assert_allclose(result.features[:full], whole.features[:full], atol=1e-5)
    np.testing.assert_array_equal(result.frame_index[:full], whole.frame_index[:full])
    assert any("truncated" in warning for warning in result.warnings)
    assert not whole.warnings


def test_a_url_is_read(tiny: Marlin, tmp_path: Path) -> None:
    path = video32(tmp_path / "v.mp4", 60)
    with Loopback(files={"/talk.mp4": path.read_bytes()}) as server:
        result = tiny.extract(f"{server.url}/talk.mp4?token=1")

    np.testing.assert_array_equal(result.features, tiny.extract(path).features)
    assert not result.warnings


def test_a_url_that_hangs_up_gives_the_windows_before_and_a_warning(tiny: Marlin, tmp_path: Path) -> None:
    stills = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), np.uint8)
    path = write_video(tmp_path / "v.mkv", stills, options={"bf": "3"})
    content = path.read_bytes()
    assert len(content) > 100_000  # more than a client reads ahead
    with Loopback(files={"/talk.mkv": content}, cuts=[len(content) // 2] * 20) as server:
        result = tiny.extract(f"{server.url}/talk.mkv")

    whole = tiny.extract(path)
    full = int(result.frame_valid.all(axis=1).sum())
    assert 2 <= full < len(whole.features) - 1
    np.testing.assert_array_equal(result.features[:full], whole.features[:full])
    assert any(warning.startswith("breaks off at ") for warning in result.warnings)


def test_a_url_with_nothing_behind_it_is_a_typed_error(tiny: Marlin) -> None:
    with Loopback(files={"/page.html": b"<html>no video</html>"}) as server:
        with pytest.raises(VideoDecodeError, match="404 Not Found"):
            tiny.extract(f"{server.url}/gone.mp4")
        with pytest.raises(VideoDecodeError, match="cannot be opened as a video"):
            tiny.extract(f"{server.url}/page.html")


def test_a_playlist_on_a_server_cannot_read_local_files(tiny: Marlin, tmp_path: Path) -> None:
    secret = video32(tmp_path / "secret.ts", 60)
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{secret.as_uri()}\n#EXT-X-ENDLIST\n".encode()
    with Loopback(files={"/live.m3u8": playlist}) as server, pytest.raises(VideoDecodeError):
        tiny.extract(f"{server.url}/live.m3u8")


def test_a_playlist_on_a_server_plays_its_own_segments(tiny: Marlin, tmp_path: Path) -> None:
    segment = video32(tmp_path / "part.ts", 60)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2.4,\npart.ts\n#EXT-X-ENDLIST\n"
    with Loopback(files={"/live.m3u8": playlist, "/part.ts": segment.read_bytes()}) as server:
        result = tiny.extract(f"{server.url}/live.m3u8")

    np.testing.assert_array_equal(result.features, tiny.extract(segment).features)


def test_a_late_clock_and_a_variable_rate_reach_the_rows(tiny: Marlin, tmp_path: Path) -> None:
    shown_ms = [5000 + 40 * index + (700 if index >= 33 else 0) for index in range(40)]
    result = tiny.extract(write_video(tmp_path / "v.mkv", noise(40, 32, 32), times=shown_ms))

    assert result.start_s.tolist() == pytest.approx([0, 1.28], abs=1e-3)
    assert result.end_s.tolist() == pytest.approx([1.24, 2.26], abs=1e-3)
    assert result.warnings == ("no frames from 1.32 to 2.02 s: the picture stands still, or frames were lost",)


def test_the_same_moment_of_two_rates_gives_the_same_frames_when_resampled(tiny: Marlin, tmp_path: Path) -> None:
    slow = noise(32, 32, 32)
    fast = np.repeat(slow, 2, axis=0)
    lossless = {"codec": "ffv1", "pix_fmt": "bgr0"}

    at_25 = tiny.extract(write_video(tmp_path / "25.mkv", slow, fps=25, **lossless), fps=12.5)  # type: ignore[arg-type]
    at_50 = tiny.extract(write_video(tmp_path / "50.mkv", fast, fps=50, **lossless), fps=12.5)  # type: ignore[arg-type]

    np.testing.assert_array_equal(at_25.features, at_50.features)
    np.testing.assert_array_equal(at_25.frame_index[0], np.arange(0, 32, 2))
    np.testing.assert_array_equal(at_50.frame_index[0], np.arange(0, 64, 4))


def test_a_turned_video_is_cropped_upright(tmp_path: Path) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector=PaintedFace())
    stored = painted(20, dict.fromkeys(range(20), (80, 8, 112, 40)))
    path = write_video(tmp_path / "v.mp4", stored)
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 4 + 40
    content[at : at + 16] = b"".join(value.to_bytes(4, "big", signed=True) for value in (0, 1 << 16, 0, -1 << 16))
    content[at + 16 : at + 20] = bytes(4)

    boxes = model.extract(lay(tmp_path / "turned.mp4", bytes(content))).boxes

    # Turned clockwise, (x, y) of the 128x96 picture is shown at (95 - y, x).
    np.testing.assert_allclose(boxes[0, 0], [96 - 40, 80, 96 - 8, 112], atol=2)


@pytest.mark.parametrize("size", [(16, 16), (17, 31)])
def test_a_tiny_frame_has_no_face_but_is_read(tiny: Marlin, tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "v.webm", noise(20, *size), codec="libvpx-vp9")

    with pytest.raises(NoFaceError, match="none of 1 windows shows one face"):
        tiny.extract(path)


def test_a_face_in_an_8k_frame_is_cropped(tmp_path: Path) -> None:
    model = Marlin.untrained(TINY, device="cpu", detector=PaintedFace())
    still = np.full((4320, 7680, 3), 90, np.uint8)
    still[1000:3000, 4000:6000] = (255, 0, 0)
    path = write_video(tmp_path / "8k.avi", [still], codec="mjpeg", pix_fmt="yuvj420p")

    result = model.extract(path)

    assert result.features.shape == (1, 32)
    np.testing.assert_allclose(result.boxes[0, 0], [4000, 1000, 6000, 3000], atol=3)


def test_video_of_one_frame_is_a_window_of_its_repeats(tiny: Marlin, tmp_path: Path) -> None:
    result = tiny.extract(video32(tmp_path / "v.mp4", 1))

    assert result.features.shape == (1, 32)
    assert result.frame_index.tolist() == [[0] * 16]
    assert result.frame_valid.tolist() == [[True] + [False] * 15]
    assert (result.start_s[0], result.end_s[0]) == pytest.approx((0, 0.04), abs=2e-3)


def test_a_file_with_no_picture_in_it_is_a_typed_error(tiny: Marlin, tmp_path: Path) -> None:
    path = video32(tmp_path / "v.mp4", 10, container_options={"movflags": "faststart"})
    content = bytearray(path.read_bytes())
    pictures = content.find(b"mdat") + 4
    content[pictures:] = b"\xff" * (len(content) - pictures)

    with pytest.raises(VideoDecodeError, match=r"no frame that can be decoded \(\d+ packets cannot be decoded"):
        tiny.extract(lay(tmp_path / "broken.mp4", bytes(content)))
    with pytest.raises(VideoDecodeError, match=r"headed\.mp4 (cannot be opened as a video|has no frame)"):
        tiny.extract(lay(tmp_path / "headed.mp4", bytes(content[:pictures])))


def test_what_is_skipped_costs_no_conversion_when_read_alone(tmp_path: Path, conversions: Iterator[list[int]]) -> None:
    converted = next(conversions)
    with open_video(video32(tmp_path / "v.mkv", 30)) as reader:
        assert len(list(sample_by_index(reader, 3))) == 10

    assert converted == []
