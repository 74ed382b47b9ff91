"""Files of all common formats, generated with PyAV: times, colours, orientation, damage."""

from __future__ import annotations

import gc
import io
import itertools
import struct
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray
from tests.making import lay, noise, write_video

from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.video.container import ContainerReader
from marlin_sdk.video.frames import Frame

RED, GREEN, BLUE, WHITE = (250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 250)


def read(path: Path) -> tuple[list[Frame], ContainerReader]:
    """All frames of a file, and its reader."""
    with ContainerReader(f"file:{path}", name=path.name) as reader:
        return list(reader), reader


def times(frames: Iterable[Frame]) -> list[float]:
    """The presentation time of each, to the microsecond."""
    return [round(frame.time_s, 6) for frame in frames]


def corners(height: int, width: int) -> NDArray[np.uint8]:
    """Red, green, blue and white quarters: every rotation or mirroring changes the picture."""
    picture = np.empty((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = RED
    picture[: height // 2, width // 2 :] = GREEN
    picture[height // 2 :, : width // 2] = BLUE
    picture[height // 2 :, width // 2 :] = WHITE
    return picture


def write_stills(
    path: Path,
    stills: Iterable[VideoFrame],
    codec: str,
    *,
    options: Mapping[str, str] | None = None,
    pixel_shape: Fraction | None = None,
) -> Path:
    """Encode frames in their own format, with their tags."""
    pictures = list(stills)
    first = pictures[0]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=dict(options or {}))
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = first.height, first.width, first.format.name
        stream.codec_context.color_range, stream.codec_context.colorspace = first.color_range, first.colorspace
        if pixel_shape:
            stream.codec_context.sample_aspect_ratio = pixel_shape
        for index, picture in enumerate(pictures):
            picture.pts, picture.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def shifted(source: Path, target: Path, ticks: int) -> Path:
    """The same packets, delayed by a number of ticks of 1/25 s."""
    with av.open(str(source)) as container, av.open(str(target), "w") as output:
        stream = container.streams.video[0]
        copy = output.add_stream_from_template(stream)
        for packet in container.demux(stream):
            if packet.dts is None or packet.pts is None:
                continue
            later = int(ticks / 25 / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, copy
            output.mux(packet)
    return target


def cut(path: Path, share: float) -> Path:
    """The first part of a file."""
    return lay(path.with_stem("cut"), path.read_bytes()[: int(path.stat().st_size * share)])


@pytest.mark.parametrize(
    ("suffix", "codec", "promised"),
    [
        (".mp4", "libx264", 50),
        (".mov", "mpeg4", 50),
        (".avi", "mpeg4", 50),
        (".mkv", "libx264", None),
        (".webm", "libvpx-vp9", None),
        (".ts", "libx264", None),
        (".flv", "libx264", None),
        (".mpg", "mpeg2video", None),
        (".mp4", "libx265", 50),
    ],
)
def test_every_container_gives_all_frames_at_their_times(
    tmp_path: Path, suffix: str, codec: str, promised: int | None
) -> None:
    stills = noise(50, 64, 96)
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {}

    frames, reader = read(write_video(tmp_path / f"v{suffix}", stills, codec=codec, options=options))

    assert [frame.index for frame in frames] == list(range(50))
    assert times(frames) == pytest.approx([index / 25 for index in range(50)], abs=1e-3)
    assert [frame.duration_s for frame in frames] == pytest.approx([0.04] * 50, abs=2e-3)
    assert (reader.num_frames, reader.fps, reader.warnings) == (promised, 25.0, [])
    for frame, still in zip(frames, stills, strict=True):
        assert (frame.height, frame.width) == (64, 96)
        assert np.abs(frame.rgb[8:24, 8:40].mean((0, 1)) - still[16, 24]).max() < 40


def test_b_frames_come_in_display_order(tmp_path: Path) -> None:
    stills = np.stack([np.full((64, 64, 3), 5 * index, np.uint8) for index in range(50)])
    path = write_video(tmp_path / "v.mp4", stills, options={"bf": "3", "g": "50", "b-pyramid": "none"})
    with av.open(str(path)) as container:
        assert any(frame.pict_type == av.video.frame.PictureType.B for frame in container.decode(video=0))

    frames, _ = read(path)

    assert np.diff([frame.rgb.mean() for frame in frames]).min() > 2
    assert times(frames) == pytest.approx([index / 25 for index in range(50)])


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "libx264"), (".webm", "libvpx-vp9")])
def test_times_of_a_variable_frame_rate_come_from_the_file(tmp_path: Path, suffix: str, codec: str) -> None:
    shown_ms = [0, 40, 80, 200, 210, 1000, 1040, 3000]
    path = write_video(tmp_path / f"v{suffix}", noise(8, 64, 64), codec=codec, times=shown_ms)

    frames, reader = read(path)

    assert times(frames) == pytest.approx([time / 1000 for time in shown_ms], abs=1e-3)
    gaps = [later - time for time, later in itertools.pairwise(shown_ms)]
    assert [frame.duration_s for frame in frames[:-1]] == pytest.approx([gap / 1000 for gap in gaps], abs=2e-3)
    assert 0 < frames[-1].duration_s < 0.2
    assert reader.warnings == []


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("ticks", [25, 25 * 60])
def test_times_start_at_zero_for_a_file_whose_clock_starts_later(tmp_path: Path, suffix: str, ticks: int) -> None:
    source = write_video(tmp_path / "source.mp4", noise(50, 64, 64))

    frames, reader = read(shifted(source, tmp_path / f"later{suffix}", ticks))

    assert times(frames) == pytest.approx([index / 25 for index in range(50)], abs=1e-3)
    assert reader.duration_s == pytest.approx(2.0, abs=0.01)
    assert reader.warnings == []  # a Matroska file declares the time of its end, not its length


def test_video_that_starts_after_the_audio_keeps_its_delay(tmp_path: Path) -> None:
    source = write_video(tmp_path / "source.mp4", noise(50, 64, 64), audio_first=True)
    late = tmp_path / "late.mp4"
    with av.open(str(source)) as container, av.open(str(late), "w") as output:
        copies = {stream: output.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.dts is None or packet.pts is None:
                continue
            later = int(Fraction(1, 2) / packet.time_base) if packet.stream.type == "video" else 0
            packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, copies[packet.stream]
            output.mux(packet)

    frames, reader = read(late)

    assert times(frames)[:2] == pytest.approx([0.5, 0.54], abs=2e-3)
    assert frames[-1].time_s + frames[-1].duration_s == pytest.approx(2.5, abs=2e-3)
    assert reader.warnings == []


@pytest.mark.parametrize(("ticks_out", "count", "first"), [(10, 40, 10), (0, 50, 0)])
def test_frames_outside_an_edit_list_are_skipped(tmp_path: Path, ticks_out: int, count: int, first: int) -> None:
    path = write_video(tmp_path / "v.mp4", [np.full((64, 64, 3), 5 * index, np.uint8) for index in range(50)])
    content = bytearray(path.read_bytes())
    at = content.find(b"elst") + 12
    duration_ms, media_time = struct.unpack(">Ii", content[at : at + 8])
    content[at : at + 8] = struct.pack(">Ii", duration_ms - 40 * ticks_out, media_time + 512 * ticks_out)

    frames, reader = read(lay(path, bytes(content)))

    assert (len(frames), frames[0].index, times(frames)[0]) == (count, 0, 0.0)
    assert frames[0].rgb.mean() == pytest.approx(5 * first, abs=3)
    assert reader.warnings == []


def test_audio_as_the_first_stream_changes_nothing(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv", ".ts"):
        path = write_video(tmp_path / f"v{suffix}", noise(50, 64, 64), audio_first=True)
        with av.open(str(path)) as container:
            assert container.streams[0].type == "audio"

        frames, reader = read(path)

        assert times(frames) == pytest.approx([index / 25 for index in range(50)], abs=1e-3)
        assert reader.warnings == []


# Display matrices: (a, b, c, d) of (a x + c y, b x + d y).
TURNS = {0: (1, 0, 0, 1), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0)}


def turned(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """The same MP4 with this matrix in its track header, as phones write it."""
    content = bytearray(path.read_bytes())
    at = content.find(b"tkhd") + 4 + 40
    content[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    return lay(path.with_stem("turned"), bytes(content))


@pytest.mark.parametrize("degrees", TURNS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_frames_have_the_display_orientation(tmp_path: Path, degrees: int, mirrored: bool) -> None:
    stored = corners(48, 80)
    a, b, c, d = TURNS[degrees]
    path = write_video(tmp_path / "v.mp4", [stored] * 2)

    frames, _ = read(turned(path, -a if mirrored else a, b, -c if mirrored else c, d))

    # `degrees` is counter-clockwise, as numpy's rotations; mirroring comes after it.
    shown = np.rot90(stored, degrees // 90)
    shown = np.fliplr(shown) if mirrored else shown
    for frame in frames:
        assert (frame.height, frame.width) == shown.shape[:2] == frame.rgb.shape[:2]
        for y, x in itertools.product((0.25, 0.75), repeat=2):
            at = int(y * frame.height), int(x * frame.width)
            assert np.abs(frame.rgb[at].astype(int) - shown[at]).max() < 30


def test_a_phone_held_upright_gives_upright_frames(tmp_path: Path) -> None:
    # "rotate: 90": stored rotated, to be displayed turned by 90 degrees clockwise.
    frames, _ = read(turned(write_video(tmp_path / "v.mp4", [corners(48, 80)]), 0, 1, -1, 0))

    red, green = frames[0].rgb[20, 36], frames[0].rgb[60, 36]  # the stored upper edge is the right one now
    assert np.abs(red.astype(int) - RED).max() < 30
    assert np.abs(green.astype(int) - GREEN).max() < 30


MATRICES = {Colorspace.ITU601: (0.299, 0.114), Colorspace.ITU709: (0.2126, 0.0722)}
SWATCHES = [(60, 128, 128), (180, 128, 128), (100, 90, 200), (150, 170, 80), (120, 200, 110)]


def as_rgb(swatch: tuple[int, int, int], matrix: Colorspace, *, full: bool) -> NDArray[np.float64]:
    """ITU-R BT.601 and BT.709: 8-bit Y'CbCr to R'G'B'."""
    red, blue = MATRICES[matrix]
    y = swatch[0] / 255 if full else (swatch[0] - 16) / 219
    cb, cr = ((value - 128) / (255 if full else 224) for value in swatch[1:])
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    return np.asarray(np.clip([r, (y - red * r - blue * b) / (1 - red - blue), b], 0, 1) * 255, np.float64)


def swatch_frames(pix_fmt: str, matrix: int, color_range: int, bits: int = 8) -> list[VideoFrame]:
    """A frame of each swatch, whose planes hold exactly its values."""
    frames = []
    for swatch in SWATCHES:
        picture = VideoFrame(64, 32, pix_fmt)
        for plane, value in zip(picture.planes, swatch, strict=True):
            dtype = np.uint8 if bits == 8 else np.dtype("<u2")
            filled = np.full(plane.buffer_size // np.dtype(dtype).itemsize, value << (bits - 8), dtype)
            plane.update(filled.tobytes())
        picture.color_range, picture.colorspace = color_range, matrix
        frames.append(picture)
    return frames


@pytest.mark.parametrize("matrix", [Colorspace.ITU601, Colorspace.ITU709])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("pix_fmt", "codec", "suffix", "bits"),
    [
        ("yuv420p", "libx264", ".mp4", 8),
        ("yuv444p", "libx264", ".mp4", 8),
        ("yuv420p10le", "libx264", ".mp4", 10),
        ("yuv420p10le", "libx265", ".mkv", 10),
        ("yuv420p", "libvpx-vp9", ".webm", 8),
        ("yuv420p10le", "ffv1", ".mkv", 10),
    ],
)
def test_colours_follow_matrix_range_and_depth_of_the_file(
    tmp_path: Path, matrix: Colorspace, full: bool, pix_fmt: str, codec: str, suffix: str, bits: int
) -> None:
    color_range = ColorRange.JPEG if full else ColorRange.MPEG
    options = {
        "libx264": {"qp": "0"},
        "libx265": {"x265-params": "lossless=1:log-level=none"},
        "libvpx-vp9": {"lossless": "1"},
    }
    stills = swatch_frames(pix_fmt, matrix, color_range, bits)

    frames, _ = read(write_stills(tmp_path / f"v{suffix}", stills, codec, options=options.get(codec)))

    for swatch, frame in zip(SWATCHES, frames, strict=True):
        expected = as_rgb(swatch, matrix, full=full)
        assert frame.rgb.dtype == np.uint8
        assert np.abs(frame.rgb.reshape(-1, 3) - expected).max() <= 3


def test_yuvj420p_is_full_range(tmp_path: Path) -> None:
    stills = swatch_frames("yuvj420p", Colorspace.ITU601, ColorRange.JPEG)

    frames, _ = read(write_stills(tmp_path / "v.mov", stills, "mjpeg", options={"q": "1"}))

    for swatch, frame in zip(SWATCHES, frames, strict=True):
        assert np.abs(frame.rgb.reshape(-1, 3) - as_rgb(swatch, Colorspace.ITU601, full=True)).max() <= 5


def test_untagged_colour_is_bt601_with_limited_range(tmp_path: Path) -> None:
    stills = swatch_frames("yuv420p", 2, ColorRange.UNSPECIFIED)  # 2: AVCOL_SPC_UNSPECIFIED

    frames, _ = read(write_stills(tmp_path / "v.mp4", stills, "libx264", options={"qp": "0"}))

    for swatch, frame in zip(SWATCHES, frames, strict=True):
        assert np.abs(frame.rgb.reshape(-1, 3) - as_rgb(swatch, Colorspace.ITU601, full=False)).max() <= 3


@pytest.mark.parametrize(("height", "width"), [(65, 97), (17, 33), (1, 1), (16, 16), (16, 17)])
@pytest.mark.parametrize(("suffix", "codec"), [(".avi", "mpeg4"), (".webm", "libvpx-vp9"), (".mkv", "ffv1")])
def test_odd_and_tiny_sizes_are_read_completely(
    tmp_path: Path, height: int, width: int, suffix: str, codec: str
) -> None:
    stills = [np.full((height, width, 3), value, np.uint8) for value in (60, 200)]

    frames, _ = read(write_video(tmp_path / f"v{suffix}", stills, codec=codec))

    for frame, still in zip(frames, stills, strict=True):
        assert (frame.height, frame.width) == (height, width)
        assert frame.rgb.shape == (height, width, 3)
        assert np.abs(frame.rgb.astype(int) - still).max() <= 4


def test_an_8k_frame_is_read(tmp_path: Path) -> None:
    still = np.zeros((4320, 7680, 3), np.uint8)
    still[2160:, :3840] = (250, 120, 10)
    path = write_video(tmp_path / "v.avi", [still] * 2, codec="mjpeg", pix_fmt="yuvj420p")

    frames, reader = read(path)

    assert [frame.rgb.shape for frame in frames] == [(4320, 7680, 3)] * 2
    assert np.abs(frames[1].rgb[3000, 1000].astype(int) - (250, 120, 10)).max() < 10
    assert frames[1].rgb[1000, 5000].max() < 10
    assert reader.warnings == []


def test_frames_above_the_limit_are_refused_before_any_is_decoded(tmp_path: Path) -> None:
    content = bytearray(write_video(tmp_path / "v.avi", [corners(32, 32)], codec="rawvideo").read_bytes())
    at = content.find(b"strf") + 12
    assert struct.unpack("<2i", content[at : at + 8]) == (32, 32)
    content[at : at + 8] = struct.pack("<2i", 16384, 8192)

    with pytest.raises(VideoDecodeError, match=r"bomb\.avi has .* of (16384x8192|more than 67,108,864 pixels)"):
        read(lay(tmp_path / "bomb.avi", bytes(content)))


def test_non_square_pixels_are_used_as_stored_with_a_warning(tmp_path: Path) -> None:
    still = VideoFrame.from_ndarray(corners(64, 96), format="rgb24").reformat(format="yuv420p")
    path = write_stills(tmp_path / "v.mp4", [still] * 3, "libx264", pixel_shape=Fraction(16, 11))

    frames, reader = read(path)

    assert frames[0].rgb.shape == (64, 96, 3)
    assert reader.warnings == ["pixels are not square (aspect ratio 16/11); frames are used as stored"]


def test_a_cover_picture_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        cover = container.add_stream("mjpeg", rate=1)
        assert isinstance(sound, av.AudioStream)
        assert isinstance(cover, av.VideoStream)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cast(Any, cover).disposition = av.stream.Disposition.attached_pic.value
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
        picture = VideoFrame.from_ndarray(corners(64, 64), format="rgb24").reformat(format="yuvj420p")
        picture.pts, picture.time_base = 0, Fraction(1, 1)
        container.mux(cover.encode(picture))
        container.mux(cover.encode())

    with pytest.raises(VideoDecodeError, match=r"song\.mp4 has no video stream, only audio and cover picture streams"):
        read(path)


@pytest.mark.parametrize(
    ("suffix", "codec", "container_options", "options"),
    [
        (".mp4", "libx264", {"movflags": "faststart"}, {}),
        (".mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"}, {"g": "10"}),
        (".mkv", "libx264", {}, {}),
        (".webm", "libvpx-vp9", {}, {}),
        (".avi", "mpeg4", {}, {}),
        (".flv", "libx264", {}, {}),
    ],
)
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_a_truncated_file_gives_the_frames_before_with_a_warning(
    tmp_path: Path,
    suffix: str,
    codec: str,
    container_options: Mapping[str, str],
    options: Mapping[str, str],
    share: float,
) -> None:
    stills = noise(100, 96, 96)
    path = write_video(
        tmp_path / f"v{suffix}", stills, codec=codec, container_options=container_options, options=options
    )
    whole, _ = read(path)

    frames, reader = read(cut(path, share))

    assert share - 0.3 <= len(frames) / 100 <= share + 0.05
    assert times(frames) == times(whole[: len(frames)])
    for frame, original in zip(frames[:-1], whole, strict=False):
        np.testing.assert_array_equal(frame.rgb, original.rgb)
    assert any("truncated" in warning or "cannot be decoded" in warning for warning in reader.warnings)


def test_a_fragmented_file_may_be_truncated_anywhere(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "v.mp4",
        noise(40, 64, 64),
        container_options={"movflags": "frag_keyframe+empty_moov"},
        options={"g": "10", "sc_threshold": "0"},
    )
    content = path.read_bytes()
    third = [at for at in range(len(content)) if content.startswith(b"moof", at)][2] - 4

    counts = {}
    for into in (4, 40, 120):  # bytes into the header of the third fragment
        frames, _ = read(lay(tmp_path / "cut.mp4", content[: third + into]))
        with ContainerReader(io.BytesIO(content[: third + into]), name="bytes") as reader:
            counts[into] = (len(frames), len(list(reader)))

    assert counts == {4: (20, 20), 40: (20, 20), 120: (20, 20)}


class Breaks(io.BytesIO):
    """A file with a read error after a number of bytes."""

    def __init__(self, content: bytes, after: int, error: Exception) -> None:
        super().__init__(content)
        self._after, self._error = after, error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self._after:
            raise self._error
        return super().read(min(size or 1000, 1000))


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), RuntimeError("gone")])
def test_a_read_that_fails_in_the_middle_loses_no_frame_before_it(tmp_path: Path, error: Exception) -> None:
    path = write_video(tmp_path / "v.mkv", noise(100, 96, 96), options={"bf": "3"})
    content = path.read_bytes()
    half = len(content) // 2 // 1000 * 1000
    expected, _ = read(lay(tmp_path / "half.mkv", content[:half]))

    with ContainerReader(Breaks(content, half, error), name="broken") as reader:
        frames = list(reader)

    assert len(frames) >= len(expected) - 1 > 20
    assert times(frames) == times(expected[: len(frames)])
    assert any(warning.startswith("breaks off at ") and warning.endswith(": gone") for warning in reader.warnings)


def test_damage_in_the_middle_is_skipped_with_a_warning(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mkv", noise(100, 96, 96), options={"g": "10"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1500] = bytes(1500)

    frames, reader = read(lay(path, bytes(content)))

    assert 70 <= len(frames) <= 100
    assert frames[-1].time_s == pytest.approx(3.96, abs=1e-3)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert reader.warnings


def test_frames_without_timestamps_are_timed_by_count_with_a_warning(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", noise(10, 64, 64), codec="mpeg4")
    raw = tmp_path / "v.m4v"
    with av.open(str(path)) as container:
        raw.write_bytes(b"".join(bytes(packet) for packet in container.demux(video=0)))

    frames, reader = read(raw)

    assert len(frames) == 10
    steps = np.diff(times(frames))
    assert steps.min() > 0
    assert np.ptp(steps) < 1e-6
    assert reader.num_frames is None


def test_concatenated_files_have_continuous_times(tmp_path: Path) -> None:
    part = write_video(tmp_path / "part.ts", noise(50, 64, 64)).read_bytes()

    frames, reader = read(lay(tmp_path / "joined.ts", part * 3))

    assert 145 <= len(frames) <= 150  # the demuxer may lose a frame at a joint
    steps = np.diff(times(frames))
    assert 0 < steps.min() <= steps.max() <= 0.2
    assert sum("timestamps restart at" in warning for warning in reader.warnings) == 2


def pictures() -> int:
    """Decoded pictures in memory."""
    return sum(type(one) is VideoFrame for one in gc.get_objects())


@pytest.mark.parametrize("codec", ["libx264", "mjpeg"])
def test_pictures_are_released_without_the_garbage_collector(tmp_path: Path, codec: str) -> None:
    path = write_video(tmp_path / "v.mkv", noise(60, 64, 64), codec=codec, pix_fmt="yuvj420p")
    gc.collect()
    before = pictures()
    gc.disable()
    try:
        with ContainerReader(f"file:{path}", name="v.mkv") as reader:
            shapes = {frame.rgb.shape for frame in reader}
            alive = pictures() - before
    finally:
        gc.enable()

    assert shapes == {(64, 64, 3)}
    assert alive <= 3


def test_a_reader_is_read_once(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", noise(3, 64, 64))

    with ContainerReader(f"file:{path}", name="v.mp4") as reader:
        assert len(list(reader)) == 3
        with pytest.raises(ConfigError, match=r"v\.mp4 has been read; open it again"):
            list(reader)


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    for suffix, codec in ((".mp4", "libx264"), (".webm", "libvpx-vp9")):
        frames, reader = read(write_video(tmp_path / f"v{suffix}", noise(1, 64, 64), codec=codec))

        assert (times(frames), reader.warnings) == ([0.0], [])
        assert frames[0].duration_s == pytest.approx(0.04, abs=2e-3)


@pytest.mark.parametrize(("suffix", "jump_s"), [(".mp4", 100_000), (".mkv", 2_000_000), (".mkv", 1000)])
def test_timestamps_that_jump_far_ahead_continue_without_the_jump(tmp_path: Path, suffix: str, jump_s: int) -> None:
    shown_ms = [index * 40 for index in range(20)]
    late_ms = [1000 * jump_s * (index >= 10) + time for index, time in enumerate(shown_ms)]
    path = write_video(tmp_path / f"v{suffix}", noise(20, 64, 64), times=late_ms)

    frames, reader = read(path)

    assert times(frames) == pytest.approx([index * 0.04 for index in range(20)], abs=2e-3)
    assert max(frame.duration_s for frame in frames) < 0.1
    assert reader.warnings == [f"timestamps jump by {jump_s} s at 0.40 s; the jump is removed"]
    assert not reader.is_damaged


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frame_displayed_for_minutes_keeps_its_duration(tmp_path: Path, suffix: str) -> None:
    shown_ms = [0, 40, 80, 30_080, 30_120, 330_120, 330_160]
    path = write_video(tmp_path / f"v{suffix}", noise(7, 64, 64), times=shown_ms)

    frames, reader = read(path)

    assert times(frames) == pytest.approx([time / 1000 for time in shown_ms], abs=2e-3)
    assert frames[2].duration_s == pytest.approx(30, abs=2e-3)
    assert reader.warnings == []


def test_wrong_duration_of_the_last_frame_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height = stream.width = 64
        stream.pix_fmt = "yuv420p"
        packets = []
        for index, still in enumerate(noise(5, 64, 64)):
            picture = VideoFrame.from_ndarray(still, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            packets += stream.encode(picture)
        packets += stream.encode()
        packets[-1].duration = 50_000_000
        container.mux(packets)

    frames, _ = read(path)

    assert len(frames) == 5
    assert frames[-1].duration_s == pytest.approx(0.04, abs=2e-3)


class BrokenFile(io.BytesIO):
    """Bytes whose reading fails from a position on, as a dropped connection does."""

    def __init__(self, content: bytes, end: int) -> None:
        super().__init__(content)
        self._end = end

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() >= self._end:
            raise OSError("the connection is gone")
        return super().read(min(size if size is not None and size >= 0 else self._end, self._end - self.tell()))


def test_no_picture_follows_those_that_had_not_come_when_a_stream_broke_off(tmp_path: Path) -> None:
    """With B-frames, a later picture comes before those between; decoders show it at the end of what they have."""
    options = {"bf": "3", "b_strategy": "0", "sc_threshold": "0"}
    content = write_video(tmp_path / "v.mkv", noise(60, 64, 64), options=options).read_bytes()
    counts = set()
    for end in range(len(content) // 2, len(content) * 3 // 4, 99):
        with ContainerReader(BrokenFile(content, end), name="v.mkv") as reader:
            times = [frame.time_s for frame in reader]
        counts.add(len(times))
        assert times == pytest.approx([index / 25 for index in range(len(times))])
        assert reader.is_damaged
    assert len(counts) > 5
