"""Arrays and folders of images."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import lay, noise

from marlin_sdk.errors import ShapeError, VideoDecodeError
from marlin_sdk.video.sources import ASSUMED_FPS, ArrayReader, ImageFolderReader


def write_image(path: Path, rgb: NDArray[np.uint8]) -> Path:
    """Encode with OpenCV, which takes BGR."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), rgb[..., ::-1])
    return path


def test_an_array_gives_its_frames_with_times_of_its_rate() -> None:
    array = noise(5, 8, 6)

    with ArrayReader(array, 50.0) as reader:
        frames = list(reader)

    assert (reader.num_frames, reader.duration_s, reader.fps, reader.warnings) == (5, 0.1, 50.0, [])
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08])
    assert all(frame.duration_s == 0.02 and (frame.height, frame.width) == (8, 6) for frame in frames)
    np.testing.assert_array_equal(np.stack([frame.rgb for frame in frames]), array)


def test_without_a_rate_25_is_assumed_with_a_warning() -> None:
    reader = ArrayReader(noise(5, 8, 6), None)

    assert reader.fps == ASSUMED_FPS == 25.0
    assert reader.warnings == ["no frame rate given: times assume 25 fps; pass source_fps="]
    assert [frame.time_s for frame in reader][-1] == pytest.approx(4 / 25)


def test_views_that_are_not_contiguous_give_contiguous_pixels() -> None:
    array = noise(4, 8, 6)[::-1, :, ::-1]

    pixels = [frame.rgb for frame in ArrayReader(array, 25.0)]

    assert all(rgb.flags["C_CONTIGUOUS"] for rgb in pixels)
    np.testing.assert_array_equal(np.stack(pixels), array)


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.zeros((4, 8, 6, 3), np.float32), "got float32"),
        (np.zeros((8, 6, 3), np.uint8), r"got uint8 \(8, 6, 3\)"),
        (np.zeros((4, 8, 6, 4), np.uint8), r"got uint8 \(4, 8, 6, 4\)"),
        (np.zeros((4, 3, 8, 6), np.uint8), "channels come last: permute it"),
        (np.zeros((3, 4, 8, 6), np.uint8), "channels come last: permute it"),
    ],
)
def test_other_shapes_and_types_are_refused(array: NDArray[np.uint8], hint: str) -> None:
    with pytest.raises(ShapeError, match=hint):
        ArrayReader(array, 25.0)


@pytest.mark.parametrize("shape", [(0, 8, 6, 3), (4, 0, 6, 3), (4, 8, 0, 3)])
def test_an_array_without_pixels_has_no_frames(shape: tuple[int, ...]) -> None:
    with pytest.raises(VideoDecodeError, match="has no frame"):
        ArrayReader(np.zeros(shape, np.uint8), 25.0)


def test_images_come_in_natural_order_of_their_names(tmp_path: Path) -> None:
    values = {"frame10.png": 10, "frame2.png": 2, "frame1.PNG": 1, "frame2b.png": 3}
    for name, value in values.items():
        write_image(tmp_path / name, np.full((4, 6, 3), value, np.uint8))

    with ImageFolderReader(tmp_path, 10.0) as reader:
        frames = list(reader)

    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [1, 2, 3, 10]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert (reader.num_frames, reader.fps, reader.warnings) == (4, 10.0, [])


def test_names_with_equal_numbers_have_a_fixed_order(tmp_path: Path) -> None:
    for name in ("1.png", "01.png", "001.png"):
        write_image(tmp_path / name, np.full((4, 4, 3), len(name), np.uint8))

    frames = list(ImageFolderReader(tmp_path, 25.0))

    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [7, 6, 5]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".jpg", ".jpeg", ".webp"])
def test_every_kind_of_image_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    red = np.zeros((16, 24, 3), np.uint8)
    red[..., 0] = 250
    write_image(tmp_path / f"a{suffix}", red)

    (frame,) = ImageFolderReader(tmp_path, 25.0)

    assert (frame.height, frame.width) == (16, 24)
    assert np.abs(frame.rgb.astype(int) - red).max() <= 4


@pytest.mark.parametrize("pixels", [np.full((4, 4), 77, np.uint8), np.full((4, 4), 77 * 257, np.uint16)])
def test_grey_and_16_bit_images_become_8_bit_rgb(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), pixels)

    (frame,) = ImageFolderReader(tmp_path, 25.0)

    assert frame.rgb.dtype == np.uint8
    assert np.unique(frame.rgb).tolist() == [77]


def test_an_alpha_channel_is_ignored(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, 4), (10, 20, 30, 0), np.uint8))

    (frame,) = ImageFolderReader(tmp_path, 25.0)

    assert frame.rgb[0, 0].tolist() == [30, 20, 10]


def test_a_broken_image_is_skipped_with_a_warning(tmp_path: Path) -> None:
    for index in (0, 2, 3):
        write_image(tmp_path / f"{index}.png", np.full((4, 4, 3), index, np.uint8))
    lay(tmp_path / "1.png", b"no image")
    lay(tmp_path / "4.png", b"")

    reader = ImageFolderReader(tmp_path, 25.0)
    frames = list(reader)

    assert [(frame.index, int(frame.rgb[0, 0, 0])) for frame in frames] == [(0, 0), (2, 2), (3, 3)]
    assert [frame.time_s for frame in frames] == pytest.approx([0, 0.08, 0.12])
    assert reader.warnings == [
        "1.png, frame 1, cannot be decoded as an image",
        "4.png, frame 4, cannot be decoded as an image",
    ]


def test_a_folder_of_broken_images_has_no_frame(tmp_path: Path) -> None:
    lay(tmp_path / "1.png", b"no image")

    with pytest.raises(VideoDecodeError, match=r"none of the 1 images in .* can be decoded"):
        list(ImageFolderReader(tmp_path, 25.0))


def test_a_folder_without_images_says_what_it_looked_for(tmp_path: Path) -> None:
    lay(tmp_path / "notes.txt")
    lay(tmp_path / ".hidden.png")
    (tmp_path / "folder.png").mkdir()

    with pytest.raises(VideoDecodeError, match=r"holds no videos and no images; expected .*\.bmp, "):
        ImageFolderReader(tmp_path, 25.0)


def bomb(path: Path, side_px: int) -> Path:
    """A PNG of a few hundred kB that would unpack to hundreds of MB."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), bytes(1 + 3 * side_px)
    data = b"".join(packer.compress(row) for _ in range(side_px)) + packer.flush()
    header = struct.pack(">IIBBBBB", side_px, side_px, 8, 2, 0, 0, 0)
    return lay(path, b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


PEAK = """
import resource, sys
from marlin_sdk import VideoDecodeError
from marlin_sdk.video.reader import open_video
import av, cv2, PIL.Image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with open_video(sys.argv[1]) as reader:
        next(iter(reader))
except VideoDecodeError as error:
    print(error)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("name", ["bomb.png", "folder/1.png"])
def test_huge_image_in_a_small_file_is_refused_before_it_takes_memory(tmp_path: Path, name: str) -> None:
    path = bomb(tmp_path / name, 10_000)  # 300 MB of pixels
    assert path.stat().st_size < 1_000_000
    source = path.parent if name.startswith("folder") else path
    done = subprocess.run([sys.executable, "-c", PEAK, source], capture_output=True, text=True, check=False)
    error, peak_mb = done.stdout.splitlines()
    assert "pixels" in error
    assert int(peak_mb) < 60
