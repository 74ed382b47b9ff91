"""Frames of a video file or stream, decoded by PyAV (FFmpeg)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.video.frames import Frame, check_pixels

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

__all__ = ["ContainerReader"]

_TIMEOUT_S = (15.0, 60.0)  # to open, and to wait for more of a live stream
_DEFAULT_FPS = 25.0  # of a stream that has neither times nor a rate
# Playlists name other files; a terminal log is text that FFmpeg would paint.
_REFUSED_FORMATS = {"hls", "concat", "dash", "tty", "lavfi"}
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")


class ContainerReader:
    """Reads the first video stream of a file.

    Only frames whose pixels are asked for are converted. Colour matrix and range follow the file's tags, BT.601 where
    it has none; rotation metadata is applied. Times come from the frames' own timestamps.

    Args:
        source: a path, a URL, or an open binary file.
        name: what messages call it.
        is_url: whether other protocols than that of the local file may be used.
    Raises:
        VideoDecodeError: it is no video, holds no video stream, or is a playlist.
    """

    def __init__(self, source: str | BinaryIO, *, name: str, is_url: bool = False) -> None:
        self.name = name
        self.warnings: list[str] = []
        self._started = False
        self._container = _open(source, name, is_url)
        try:
            self._stream = _video_stream(self._container, name)
        except BaseException:
            self._container.close()
            raise
        self._stream.thread_type = "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else None
        self.num_frames = self._stream.frames or None
        self.duration_s = _promised_s(self._container, self._stream)

    def __enter__(self) -> ContainerReader:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let go of the file and the decoder."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """The frames, in display order, each once the next one's time is known.

        Raises:
            ConfigError: the reader has been read before.
            VideoDecodeError: not one frame can be decoded, or frames are too large.
        """
        if self._started:
            raise ConfigError(f"{self.name} has been read; open it again to read it again")
        self._started = True
        step_s = 1 / (self.fps or _DEFAULT_FPS)
        waiting: Callable[[float], Frame] | None = None
        time_s, count, corrupt, timed = -step_s, 0, 0, True
        for picture in self._pictures():
            timed = timed and picture.pts is not None
            last_s, time_s = time_s, self._time_s(picture, otherwise=time_s + step_s)
            if waiting:
                yield waiting(max(time_s - last_s, 0.0))
            check_pixels(self.name, picture.width, picture.height)
            corrupt += picture.is_corrupt
            waiting = partial(_frame, picture, count, time_s)
            count += 1
            shown_s = float(picture.duration * picture.time_base) if picture.duration and picture.time_base else step_s
        if waiting is None:
            raise VideoDecodeError(f"{self.name} has no frame that can be decoded{self._reasons()}")
        if corrupt:
            self.warnings.append(f"{corrupt} frames are damaged")
        if not timed:
            self.warnings.append(f"some frames have no time of their own; {1 / step_s:g} frames a second are assumed")
        self._note_early_end(count, time_s + shown_s)
        yield waiting(shown_s)

    def _pictures(self) -> Iterator[av.VideoFrame]:
        """Decode; what cannot be decoded is passed over, and where the file breaks off the frames end."""
        import av

        undecoded, first_s = 0, 0.0
        packets = self._container.demux(self._stream)
        at_s = 0.0
        while True:
            try:
                packet = next(packets, None)
            except (av.error.FFmpegError, OSError) as error:
                self.warnings.append(f"breaks off at {at_s:.2f} s: {_reason(error)}")
                packet = None
            if packet is None:
                break
            if packet.pts is not None and packet.time_base is not None:
                at_s = max(at_s, float(packet.pts * packet.time_base) - self._origin_s)
            try:
                yield from packet.decode()
            except av.error.EOFError:
                break
            except av.error.FFmpegError:
                first_s = first_s if undecoded else at_s
                undecoded += 1
        if undecoded:
            self.warnings.append(f"{undecoded} packets cannot be decoded, the first at {first_s:.2f} s")

    @property
    def _origin_s(self) -> float:
        """The time of the file's start on its own clock: that of its earliest stream, so that sound lines up."""
        start = cast("int | None", self._container.start_time)
        if start is not None:
            return start / 1_000_000
        first = self._stream.start_time
        return float(first * (self._stream.time_base or Fraction(1))) if first else 0.0

    def _time_s(self, picture: av.VideoFrame, *, otherwise: float) -> float:
        if picture.pts is None or picture.time_base is None:
            return otherwise
        return float(picture.pts * picture.time_base) - self._origin_s

    def _note_early_end(self, count: int, end_s: float) -> None:
        """Warn of a file that ends before it promised to, by count where it has one, and by time."""
        if self.duration_s is None:
            return
        slack_s = max(0.5, 2 / (self.fps or _DEFAULT_FPS))
        if self.num_frames:
            missing = self.num_frames - count
            slack_s = 2 / (self.fps or _DEFAULT_FPS) if missing > 1 else float("inf")
        if end_s < self.duration_s - slack_s:
            self.warnings.append(f"ends at {end_s:.2f} s of {self.duration_s:.2f} s promised: the file is cut off")

    def _reasons(self) -> str:
        return f" ({'; '.join(self.warnings)})" if self.warnings else ""


def _open(source: str | BinaryIO, name: str, is_url: bool) -> InputContainer:
    import av
    from av.container import InputContainer

    # A hostile file must not make FFmpeg open others.
    options = {} if is_url else {"protocol_whitelist": "file" if isinstance(source, str) else "data"}
    try:
        container = av.open(source, options=options, timeout=_TIMEOUT_S if is_url else None, metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise VideoDecodeError(f"{name} cannot be opened as a video: {_reason(error)}") from error
    assert isinstance(container, InputContainer)
    if not is_url and set(container.format.name.split(",")) & _REFUSED_FORMATS:
        container.close()
        raise VideoDecodeError(
            f"{name} is no video but {container.format.long_name or container.format.name}; it is refused"
        )
    return container


def is_playlist(head: bytes) -> bool:
    """Whether a file's first bytes are those of a list of other files."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS)


def _video_stream(container: InputContainer, name: str) -> VideoStream:
    cover = "attached_pic"
    videos = [stream for stream in container.streams.video if cover not in str(stream.disposition)]
    if not videos:
        kinds = " and ".join(sorted({stream.type for stream in container.streams})) or "no"
        raise VideoDecodeError(f"{name} has no video stream, only {kinds} streams")
    stream = videos[0]
    if stream.codec_context is None:
        raise VideoDecodeError(f"{name} is encoded in a way that this build of FFmpeg cannot decode")
    check_pixels(name, stream.codec_context.width, stream.codec_context.height)
    return stream


def _promised_s(container: InputContainer, stream: VideoStream) -> float | None:
    """How long the video stream says it is; the container's own word only where no other stream may outlast it."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if tag := stream.metadata.get("DURATION"):  # Matroska
        try:
            hours, minutes, seconds = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
        except ValueError:
            return None
    return container.duration / 1_000_000 if container.duration is not None and len(container.streams) == 1 else None


def _frame(picture: av.VideoFrame, index: int, time_s: float, duration_s: float) -> Frame:
    turns = round(picture.rotation / 90) % 4
    height, width = (picture.width, picture.height) if turns % 2 else (picture.height, picture.width)
    return Frame(index, time_s, duration_s, height, width, partial(_convert, picture, turns))


def _convert(picture: av.VideoFrame, turns: int) -> NDArray[np.uint8]:
    rgb: Any = picture.to_ndarray(format="rgb24")
    return np.rot90(rgb, turns) if turns else rgb


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
