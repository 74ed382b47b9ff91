"""Frames of a video file or stream, decoded by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.video.clock import DEFAULT_FPS, Moment, PictureClock
from marlin_sdk.video.decoding import StreamDecoder
from marlin_sdk.video.frames import MAX_PIXELS, Frame, check_pixels
from marlin_sdk.video.opening import (
    choose_stream,
    declared_end_s,
    declared_fps,
    open_container,
    origin_s,
    packet_rate,
)
from marlin_sdk.video.orientation import Orientation, orientation_of
from marlin_sdk.video.truncation import describe_truncation

if TYPE_CHECKING:
    import av

__all__ = ["ContainerReader"]

_FIRST_PICTURES = 8  # by which the clock is chosen: reordering shows within a few
_RATE_TOLERANCE = 0.2  # of the declared frame rate against the decoded frames
_HOLE_FRAMES = 4  # missing in a row where data were lost; without loss, a gap is a variable frame rate
_STILL_SHARE = 0.1  # of the frames
_ASPECT_TOLERANCE = 0.05  # deviation of the pixel aspect ratio from 1 that gives no warning


class ContainerReader:
    """Reads the default video stream of a file, or the first.

    Only frames whose pixels are accessed are converted to RGB. Colour matrix and range follow the file's tags, BT.601
    if it has none; rotation and mirroring metadata is applied; non-square pixels are used as stored, as in
    marlin-pytorch, with a warning. Times come from the frames' own timestamps.

    Args:
        source: a path, a URL, or an open binary file.
        name: its name in messages.
        is_url: whether protocols other than local files are allowed.
    Raises:
        VideoDecodeError: it is not a video, has no video stream, or is a playlist.
    """

    def __init__(self, source: str | BinaryIO, *, name: str, is_url: bool = False) -> None:
        self.name = name
        self.warnings: list[str] = []
        self.is_damaged = False
        self._started = False
        self._cached_orientation: tuple[int, Orientation] | None = None
        self._path = Path(source.removeprefix("file:")) if isinstance(source, str) and not is_url else None
        self._container = open_container(source, name, is_url=is_url)
        try:
            self._stream = choose_stream(self._container, name)
        except BaseException:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        self._time_base = self._stream.time_base or Fraction(1)  # flushed frames have no time base
        self._is_live = is_url or (self._path is not None and not self._path.is_file())
        self.fps = declared_fps(self._container, self._stream)
        if self.fps is None and self._path is not None and not self._is_live:
            self.fps = packet_rate(self._path, self._stream.index)
        self.num_frames = self._stream.frames or None
        end_s = declared_end_s(self._container, self._stream)
        self.duration_s = None if end_s is None else end_s - self._origin_s
        others = sum(stream.codec_context is not None for stream in self._container.streams.video) - 1
        if others > 0:
            self.warnings.append(f"{others + 1} video streams; stream {self._stream.index}, the default one, is read")
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        if abs(aspect - 1) > _ASPECT_TOLERANCE:
            self.warnings.append(f"pixels are not square (aspect ratio {aspect}); frames are used as stored")

    def __enter__(self) -> ContainerReader:
        """Return the reader."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Release the file and the decoder."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in display order, each as soon as the next frame's time is known.

        Raises:
            ConfigError: the reader has already been read.
            VideoDecodeError: no frame can be decoded, or frames are too large.
        """
        if self._started:
            raise ConfigError(f"{self.name} has been read; open it again to read it again")
        self._started = True
        clock = PictureClock(self._time_base, origin_s=self._origin_s, start_s=self._start_s, fps=self.fps)
        pending: Callable[[float], Frame] | None = None
        moment, start_s, holes_s, count, corrupt = Moment(0.0, 0.0, 0.0), 0.0, 0.0, 0, 0
        stills: list[tuple[float, float]] = []
        decoder = StreamDecoder(self._container, self._stream, origin_s=self._origin_s)
        pictures = decoder.pictures()
        first = list(islice(pictures, 1 if self._is_live else _FIRST_PICTURES))
        clock.choose(first)
        for picture in chain(first, pictures):
            last, moment = moment, clock.read(picture)
            hole_s = 0.0
            if moment.gap_s > (_HOLE_FRAMES - 0.5) * clock.step_s:
                gap = moment.time_s - moment.gap_s, moment.time_s
                if picture.is_corrupt or decoder.has_loss(last.time_s, moment.time_s):
                    hole_s = moment.gap_s
                    holes_s += hole_s
                    self._damaged(f"frames are missing from {gap[0]:.2f} to {gap[1]:.2f} s")
                else:
                    stills.append(gap)
            if pending:
                yield pending(moment.time_s - hole_s - last.time_s)
            check_pixels(self.name, picture.width, picture.height)
            corrupt += picture.is_corrupt
            pending = partial(_frame, picture, self._orientation(picture), count, moment.time_s, missing_s=holes_s)
            start_s = start_s if count else moment.time_s
            count += 1
        for warning in decoder.warnings:
            self._damaged(warning)
        if pending is None:
            limit = "" if self._stream.width else f"; frames of more than {MAX_PIXELS:,} pixels are not decoded"
            raise VideoDecodeError(f"{self.name} has no frame that can be decoded{self._reasons()}{limit}")
        self.warnings += clock.warnings
        if corrupt:
            self._damaged(f"{corrupt} frames are damaged")
        if decoder.deinterlacer.is_active:
            self.warnings.append("interlaced; its frames are deinterlaced by FFmpeg's bwdif")
        if clock.is_untimed:
            self.warnings.append(f"some frames have no timestamp; {1 / clock.step_s:g} frames a second are assumed")
        if not clock.is_untimed and not self.is_damaged:
            self._correct_fps((count - 1) / (moment.time_s - start_s) if moment.time_s > start_s else None)
        self._note_stills(stills, count)
        self._note_early_end(count, moment.time_s + moment.duration_s, clock.removed_s)
        self._note_truncation()
        yield pending(moment.duration_s)

    def _orientation(self, picture: av.VideoFrame) -> Orientation:
        """Display orientation of a picture, read only when its rotation changes.

        Accessing the side data puts a picture into a reference cycle, which stays until the garbage collector runs.
        """
        if self._cached_orientation is None or self._cached_orientation[0] != picture.rotation:
            self._cached_orientation = picture.rotation, orientation_of(picture)
        return self._cached_orientation[1]

    @property
    def _origin_s(self) -> float:
        return origin_s(self._container, self._stream)

    @property
    def _start_s(self) -> float | None:
        """The stream's start time on the file's own clock."""
        start = self._stream.start_time
        return None if start is None else float(start * self._time_base)

    def _correct_fps(self, measured: float | None) -> None:
        """Replace a frame rate that is missing, or wrong, by that of the decoded frames."""
        if measured is not None and (self.fps is None or abs(self.fps / measured - 1) > _RATE_TOLERANCE):
            self.fps = round(measured, 3)

    def _note_stills(self, stills: list[tuple[float, float]], count: int) -> None:
        """Warn of gaps that may be a loss or not: nothing but the timestamps says that there is one."""
        if not stills or len(stills) > _STILL_SHARE * count:  # so many are the frame rate
            return
        begin_s, end_s = max(stills, key=lambda gap: gap[1] - gap[0])
        longest = f"{begin_s:.2f} to {end_s:.2f} s"
        gaps = f"from {longest}" if len(stills) == 1 else f"in {len(stills)} gaps, the longest from {longest}"
        self.warnings.append(f"no frames {gaps}: the picture stands still, or frames were lost")

    def _note_early_end(self, count: int, end_s: float, removed_s: float) -> None:
        """Warn of a file that ends before its declared end, by frame count if it declares one, and by time."""
        if self.duration_s is None:
            return
        slack_s = max(0.5, 2 / (self.fps or DEFAULT_FPS))
        if self.num_frames:
            missing = self.num_frames - count
            slack_s = 2 / (self.fps or DEFAULT_FPS) if missing > 1 else float("inf")
        if end_s + removed_s < self.duration_s - slack_s:  # the declared end includes removed jumps
            self._damaged(f"ends at {end_s:.2f} s of the declared {self.duration_s:.2f} s: the file is truncated")

    def _note_truncation(self) -> None:
        """Warn of a file that declares no end, and does not end as its format requires."""
        if self._path is None or self.is_damaged or not self._path.is_file():  # the end of a pipe cannot be inspected
            return
        if damage := describe_truncation(self._path, self._container.format.name):
            self._damaged(damage)

    def _damaged(self, warning: str) -> None:
        self.is_damaged = True
        self.warnings.append(warning)

    def _reasons(self) -> str:
        return f" ({'; '.join(self.warnings)})" if self.warnings else ""


def _frame(
    picture: av.VideoFrame,
    orientation: Orientation,
    index: int,
    time_s: float,
    duration_s: float,
    *,
    missing_s: float,
) -> Frame:
    height, width = (picture.width, picture.height) if orientation.transposed else (picture.height, picture.width)
    return Frame(index, time_s, duration_s, height, width, partial(_convert, picture, orientation), missing_s=missing_s)


def _convert(picture: av.VideoFrame, orientation: Orientation) -> NDArray[np.uint8]:
    rgb: Any = picture.to_ndarray(format="rgb24")
    return orientation.apply(rgb)
