"""Frames of a video file or stream, decoded by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.video.frames import Frame, check_pixels
from marlin_sdk.video.orientation import Orientation, orientation_of
from marlin_sdk.video.truncation import describe_truncation

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.container.core import Container
    from av.video.stream import VideoStream

__all__ = ["ContainerReader"]

_TIMEOUT_S = (15.0, 60.0)  # to open a URL, and to wait for more of a live stream
_DEFAULT_FPS = 25.0  # of a stream without timestamps and frame rate
_RESTART_S = 1.0  # timestamps that go back by more have restarted; by less, they are inexact
_JUMP_S = 600.0  # timestamps that jump ahead by more are wrong: no frame is displayed for so long
_ASPECT_TOLERANCE = 0.05  # deviation of the pixel aspect ratio from 1 that gives no warning
# Playlists refer to other files; a terminal log is text that FFmpeg would render.
_REFUSED_FORMATS = {"hls", "concat", "dash", "tty", "lavfi"}
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")


class ContainerReader:
    """Reads the first video stream of a file.

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
        self._time_shift_s = 0.0
        self._cached_orientation: tuple[int, Orientation] | None = None
        self._path = Path(source.removeprefix("file:")) if isinstance(source, str) and not is_url else None
        self._container = _open(source, name, is_url)
        try:
            self._stream = _video_stream(self._container, name)
        except BaseException:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        self._time_base = self._stream.time_base or Fraction(1)  # flushed frames have no time base
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else None
        self.num_frames = self._stream.frames or None
        end_s = _declared_end_s(self._container, self._stream)
        self.duration_s = None if end_s is None else end_s - self._origin_s
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
        step_s = 1 / (self.fps or _DEFAULT_FPS)
        step_s = step_s if step_s <= _JUMP_S else 1 / _DEFAULT_FPS  # an average over timestamps that jump
        pending: Callable[[float], Frame] | None = None
        time_s, count, corrupt, timed = -step_s, 0, 0, True
        for picture in self._decode():
            timed = timed and picture.pts is not None
            last_s, time_s = time_s, self._time_s(picture, time_s, step_s)
            if pending:
                yield pending(time_s - last_s)
            check_pixels(self.name, picture.width, picture.height)
            corrupt += picture.is_corrupt
            pending = partial(_frame, picture, self._orientation(picture), count, time_s)
            count += 1
            duration_s = float(picture.duration * self._time_base) if picture.duration else step_s
            duration_s = duration_s if duration_s <= _JUMP_S else step_s
        if pending is None:
            raise VideoDecodeError(f"{self.name} has no frame that can be decoded{self._reasons()}")
        if corrupt:
            self._damaged(f"{corrupt} frames are damaged")
        if not timed:
            self.warnings.append(f"some frames have no timestamp; {1 / step_s:g} frames a second are assumed")
        self._note_early_end(count, time_s + duration_s)
        self._note_truncation()
        yield pending(duration_s)

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Decode; packets that cannot be decoded are skipped, and the frames end where the file breaks off."""
        import av

        undecoded, first_s, at_s = 0, 0.0, 0.0
        packets = self._container.demux(self._stream)
        drained = False
        while not drained:
            try:
                packet = next(packets, None)
            except Exception as error:  # from FFmpeg, or anything that a file object raises
                self._damaged(f"breaks off at {at_s:.2f} s: {_reason(error)}")
                packet = None
            drained = packet is None  # decoding None flushes the pictures that the decoder still holds
            if packet is not None and not packet.size:
                continue
            if packet is not None and packet.pts is not None:
                at_s = max(at_s, float(packet.pts * self._time_base) - self._origin_s)
            # If the last packet is incomplete, a frame-threaded decoder drops the pictures before it, too. In MPEG
            # streams the flag only says that some bytes nearby were lost.
            failed = packet is not None and packet.is_corrupt and "mpeg" not in self._container.format.name
            try:
                if not failed:
                    yield from self._stream.decode(packet)
            except av.error.FFmpegError:
                failed = True
            if failed:
                first_s = first_s if undecoded else at_s
                undecoded += 1
        if undecoded:
            self._damaged(f"{undecoded} packets cannot be decoded, the first at {first_s:.2f} s")

    def _orientation(self, picture: av.VideoFrame) -> Orientation:
        """Display orientation of a picture, read only when its rotation changes.

        Accessing the side data puts a picture into a reference cycle, which stays until the garbage collector runs.
        """
        if self._cached_orientation is None or self._cached_orientation[0] != picture.rotation:
            self._cached_orientation = picture.rotation, orientation_of(picture)
        return self._cached_orientation[1]

    @property
    def _origin_s(self) -> float:
        """The file's start time on its own clock: that of its earliest stream, so that audio stays in sync."""
        start = cast("int | None", self._container.start_time)
        if start is not None:
            return start / 1_000_000
        return float((self._stream.start_time or 0) * self._time_base)

    def _time_s(self, picture: av.VideoFrame, last_s: float, step_s: float) -> float:
        """Presentation time of a picture: never before the last one, and continuous over concatenated files."""
        if picture.pts is None:
            return last_s + step_s
        time_s = float(picture.pts * self._time_base) - self._origin_s + self._time_shift_s
        if time_s > last_s + step_s + _JUMP_S:
            jump_s = time_s - last_s - step_s
            self.warnings.append(f"timestamps jump by {jump_s:.0f} s at {last_s + step_s:.2f} s; the jump is removed")
            self._time_shift_s -= jump_s
            return last_s + step_s
        if time_s < last_s - _RESTART_S:
            self.warnings.append(f"timestamps restart at {last_s + step_s:.2f} s; times continue from there")
            self._time_shift_s += last_s + step_s - time_s
            return last_s + step_s
        return max(time_s, last_s)

    def _note_early_end(self, count: int, end_s: float) -> None:
        """Warn of a file that ends before its declared end, by frame count if it declares one, and by time."""
        if self.duration_s is None:
            return
        slack_s = max(0.5, 2 / (self.fps or _DEFAULT_FPS))
        if self.num_frames:
            missing = self.num_frames - count
            slack_s = 2 / (self.fps or _DEFAULT_FPS) if missing > 1 else float("inf")
        if end_s - min(0.0, self._time_shift_s) < self.duration_s - slack_s:  # the declared end includes removed jumps
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


def _open(source: str | BinaryIO, name: str, is_url: bool) -> InputContainer:
    import av
    from av.container import InputContainer

    # A malicious file must not make FFmpeg open other files.
    options = {} if is_url else {"protocol_whitelist": "file" if isinstance(source, str) else "data"}
    try:
        container = av.open(
            source, container_options=options, timeout=_TIMEOUT_S if is_url else None, metadata_errors="replace"
        )
    except Exception as error:  # from FFmpeg, or anything that a file object raises
        truncated = None if is_url else _open_forward(source, options)
        if truncated is None:
            raise VideoDecodeError(f"{name} cannot be opened as a video: {_reason(error)}") from error
        container = cast(Any, truncated)
    assert isinstance(container, InputContainer)
    if not is_url and set(container.format.name.split(",")) & _REFUSED_FORMATS:
        container.close()
        raise VideoDecodeError(
            f"{name} is not a video but {container.format.long_name or container.format.name}; it is refused"
        )
    return container


def _open_forward(source: str | BinaryIO, options: dict[str, str]) -> Container | None:
    """Open without seeking, which works for a fragmented MP4 that is truncated inside the header of a fragment."""
    import av

    try:
        if isinstance(source, str):
            return av.open(source, container_options={**options, "seekable": "0"}, metadata_errors="replace")
        source.seek(0)
        return av.open(SimpleNamespace(read=source.read), container_options=options, metadata_errors="replace")
    except Exception:  # the caller reports the error of the first attempt
        return None


def is_playlist(head: bytes) -> bool:
    """Whether a file's first bytes are those of a playlist."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS)


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    from av.stream import Disposition

    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        others = {"cover picture" if stream.type == "video" else stream.type for stream in container.streams}
        raise VideoDecodeError(f"{name} has no video stream, only {' and '.join(sorted(others)) or 'no'} streams")
    stream = videos[0]
    if stream.codec_context is None:
        raise VideoDecodeError(f"{name} uses a codec that this build of FFmpeg cannot decode")
    check_pixels(name, stream.codec_context.width, stream.codec_context.height)
    return stream


def _declared_end_s(container: InputContainer, stream: VideoStream) -> float | None:
    """The declared end of the video stream, on the file's own clock.

    The container's duration is used only if no other stream may be longer.
    """
    if stream.duration is not None and stream.time_base is not None:
        return float((stream.duration + (stream.start_time or 0)) * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska; despite its name, the end time
        try:
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        except ValueError:
            return None
    if container.duration is None or len(container.streams) != 1:
        return None
    start = 0 if "matroska" in container.format.name else cast("int | None", container.start_time) or 0
    return (container.duration + start) / 1_000_000


def _frame(picture: av.VideoFrame, orientation: Orientation, index: int, time_s: float, duration_s: float) -> Frame:
    height, width = (picture.width, picture.height) if orientation.transposed else (picture.height, picture.width)
    return Frame(index, time_s, duration_s, height, width, partial(_convert, picture, orientation))


def _convert(picture: av.VideoFrame, orientation: Orientation) -> NDArray[np.uint8]:
    rgb: Any = picture.to_ndarray(format="rgb24")
    return orientation.apply(rgb)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
