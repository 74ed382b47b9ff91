"""Decoded frames, and the protocol of their readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import VideoDecodeError

__all__ = ["LARGE_PIXELS", "MAX_PIXELS", "Frame", "VideoReader", "check_pixels"]

MAX_PIXELS = 64 * 2**20
"""The largest frame that is decoded, in pixels; 8K has 33 million."""

LARGE_PIXELS = 2_500_000
"""Frames with more pixels (above full HD) do not cache their RGB pixels."""


class Frame:
    """A decoded frame, converted to RGB only when its pixels are accessed.

    The pixels of a frame of up to `LARGE_PIXELS` are cached and replace the decoder's picture. Those of a larger frame
    are converted at each access: many frames wait for the tracker, and the decoder's picture is mostly half the size.

    Args:
        index: its position in display order, counted from 0.
        time_s: presentation time, in seconds from the start of the file.
        duration_s: display duration.
        height: in pixels, as displayed.
        width: in pixels, as displayed.
        convert: returns its pixels; called at most once, unless the frame is large.
        missing_s: how much of the video is missing so far, before this frame, in seconds.
    """

    def __init__(
        self,
        index: int,
        time_s: float,
        duration_s: float,
        height: int,
        width: int,
        convert: Callable[[], NDArray[np.uint8]],
        *,
        missing_s: float = 0.0,
    ) -> None:
        self.index = index
        self.time_s = time_s
        self.duration_s = duration_s
        self.height = height
        self.width = width
        self.missing_s = missing_s
        self._convert: Callable[[], NDArray[np.uint8]] | None = convert
        self._rgb: NDArray[np.uint8] | None = None

    @property
    def is_large(self) -> bool:
        """Whether its pixels are converted at each access."""
        return self.height * self.width > LARGE_PIXELS

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The pixels: uint8 (H, W, 3), RGB, contiguous."""
        if self._convert is None:
            assert self._rgb is not None, "release() was called"
            return self._rgb
        rgb = np.ascontiguousarray(self._convert())
        if not self.is_large:
            self._rgb, self._convert = rgb, None  # releases the decoder's picture
        return rgb

    def release(self) -> None:
        """Free its picture; the pixels cannot be accessed afterwards."""
        self._rgb = self._convert = None


class VideoReader(Protocol):
    """A source of frames that is read once, from start to end.

    Attributes:
        name: its name in messages and metadata.
        num_frames: its declared number of frames; None if unknown.
        duration_s: its declared duration; None if unknown.
        fps: its average frame rate; None if unknown.
        warnings: problems so far that did not stop the reading.
        is_damaged: whether part of it could not be read.
    """

    name: str
    num_frames: int | None
    duration_s: float | None
    fps: float | None
    warnings: list[str]
    is_damaged: bool

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in display order."""

    def close(self) -> None:
        """Release the file and the decoder."""

    def __enter__(self) -> VideoReader:
        """Return the reader."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""


def check_pixels(name: str, width: int, height: int) -> None:
    """Reject frames that are too large.

    Raises:
        VideoDecodeError: more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise VideoDecodeError(
            f"{name} has frames of {width}x{height}; the limit is {MAX_PIXELS} pixels; scale it down"
        )
