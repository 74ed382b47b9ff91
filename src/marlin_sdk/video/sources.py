"""Readers of arrays and of folders of images."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ShapeError, VideoDecodeError
from marlin_sdk.video.frames import MAX_PIXELS, Frame, check_pixels

__all__ = ["ASSUMED_FPS", "IMAGE_SUFFIXES", "ArrayReader", "ImageFolderReader"]

ASSUMED_FPS = 25.0
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})


class _UntimedReader:
    """A reader of frames without timestamps; their times are computed from the frame rate."""

    def __init__(self, name: str, num_frames: int, source_fps: float | None) -> None:
        self.name = name
        self.warnings: list[str] = []
        self.is_damaged = False
        if source_fps is None:
            self.warnings.append(f"no frame rate given: times assume {ASSUMED_FPS:g} fps; pass source_fps=")
        self.fps: float | None = source_fps or ASSUMED_FPS
        self.num_frames: int | None = num_frames
        self.duration_s: float | None = num_frames / (source_fps or ASSUMED_FPS)

    def _frame(self, index: int, rgb: NDArray[np.uint8]) -> Frame:
        step_s = 1 / (self.fps or ASSUMED_FPS)
        return Frame(index, index * step_s, step_s, rgb.shape[0], rgb.shape[1], lambda: rgb)

    def close(self) -> None:
        """Nothing to release."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to close."""


class ArrayReader(_UntimedReader):
    """The frames of an array.

    Args:
        array: uint8 (T, H, W, 3), RGB.
        source_fps: its frames a second.
    Raises:
        ShapeError: another shape or dtype.
        VideoDecodeError: it has no frames.
    """

    def __init__(self, array: NDArray[Any], source_fps: float | None) -> None:
        if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8:
            hint = "; channels come last: permute it" if array.ndim == 4 and 3 in array.shape[:2] else ""
            raise ShapeError(f"a video array is uint8 (T, H, W, 3); got {array.dtype} {array.shape}{hint}")
        if 0 in array.shape:
            raise VideoDecodeError(f"the video array has no frame: its shape is {array.shape}")
        check_pixels("<array>", array.shape[2], array.shape[1])
        super().__init__("<array>", len(array), source_fps)
        self._array = array

    def __enter__(self) -> ArrayReader:
        """Return the reader."""
        return self

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in order."""
        return (self._frame(index, rgb) for index, rgb in enumerate(self._array))


class ImageFolderReader(_UntimedReader):
    """The images of a folder, in natural order of their names ("2.png" before "10.png").

    Args:
        folder: contains `.jpg`, `.png`, `.bmp` or `.webp` files; hidden files are ignored.
        source_fps: their frames a second.
    Raises:
        VideoDecodeError: there are no images, or none can be decoded.
    """

    def __init__(self, folder: Path, source_fps: float | None) -> None:
        try:
            files = [file for file in folder.iterdir() if _is_image(file)]
        except OSError as error:
            raise VideoDecodeError(f"folder {folder} cannot be read: {error.strerror}") from error
        if not files:
            raise VideoDecodeError(
                f"folder {folder} holds no videos and no images; expected video files, or frames as "
                f"{', '.join(sorted(IMAGE_SUFFIXES))}"
            )
        self._files = sorted(files, key=lambda file: (_natural(file.name), file.name))
        super().__init__(str(folder), len(files), source_fps)

    def __enter__(self) -> ImageFolderReader:
        """Return the reader."""
        return self

    @property
    def files(self) -> list[Path]:
        """The images, in order; frame k is the k-th."""
        return list(self._files)

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in order; an image that cannot be decoded is skipped with a warning, and its index is unused."""
        decoded = 0
        for index, file in enumerate(self._files):
            rgb = _read_image(file)
            if rgb is None:
                self.is_damaged = True
                self.warnings.append(f"{file.name}, frame {index}, cannot be decoded as an image")
                continue
            check_pixels(str(file), rgb.shape[1], rgb.shape[0])
            decoded += 1
            yield self._frame(index, rgb)
        if not decoded:
            raise VideoDecodeError(f"none of the {len(self._files)} images in {self.name} can be decoded")


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".") and file.is_file()


def _read_image(file: Path) -> NDArray[np.uint8] | None:
    import cv2

    _check_header(file)
    try:
        content = np.frombuffer(file.read_bytes(), dtype=np.uint8)
        bgr: Any = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except (cv2.error, OSError):
        bgr = None
    return None if bgr is None else np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _check_header(file: Path) -> None:
    """Refuse an image that is too large, before it takes memory: a small file may unpack to gigabytes."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # Pillow's own, other limit
            with Image.open(file) as header:
                size = header.size
    except Image.DecompressionBombError as error:
        raise VideoDecodeError(f"{file}: {error}; the limit is {MAX_PIXELS} pixels; scale it down") from error
    except Exception:  # not an image: decoding it says so
        return
    check_pixels(str(file), *size)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
