"""Open a video safely, choose its stream, and read what it declares."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.video.frames import MAX_PIXELS, check_pixels
from marlin_sdk.video.sources import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.container.core import Container
    from av.video.stream import VideoStream

__all__ = [
    "choose_stream",
    "declared_end_s",
    "declared_fps",
    "describe_error",
    "is_playlist",
    "open_container",
    "origin_s",
    "packet_rate",
]

_TIMEOUT_S = (15.0, 60.0)  # to open a URL, and to wait for more of a live stream
# Playlists refer to other files; a terminal log is text that FFmpeg would render.
_REFUSED_FORMATS = {"hls", "concat", "dash", "tty", "lavfi"}
_PROTOCOLS = "http,https,tls,tcp,udp,rtp,rtsp,rtmp,rtmps,srt,httpproxy,crypto"  # what a stream may lead to: no file
_LIMITS = {"max_pixels": str(MAX_PIXELS)}
_PLAYLISTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD")
_BARE_STREAMS = {"h264", "hevc", "m4v", "mpegvideo", "obu"}  # formats without timestamps
_MAX_FPS = 240.0  # a declared rate above it is the tick of a clock (1000, 90000), not a frame rate
_PEEKED_PACKETS = 64


def open_container(source: str | BinaryIO, name: str, *, is_url: bool) -> InputContainer:
    """Open a file or stream, and nothing that it refers to.

    Args:
        source: a path, a URL, or an open binary file.
        name: its name in messages.
        is_url: whether protocols other than local files are allowed.
    Raises:
        VideoDecodeError: it cannot be opened, or is a playlist or text.
    """
    import av
    from av.container import Flags, InputContainer

    # A malicious file must not make FFmpeg open other files.
    options = {"protocol_whitelist": _PROTOCOLS if is_url else "file" if isinstance(source, str) else "data"}
    if isinstance(source, str) and not is_url and Path(source).suffix.lower() in IMAGE_SUFFIXES:
        options["pattern_type"] = "none"  # "x%d.png" is the name of a file
    try:
        container = av.open(
            source,
            options=_LIMITS,  # of the decoder that looks into the first frames to find out what the streams are
            container_options=options,
            timeout=_TIMEOUT_S if is_url else None,
            metadata_errors="replace",
        )
    except Exception as error:  # from FFmpeg, or anything that a file object raises
        truncated = None if is_url else _open_forward(source, options)
        if truncated is None:
            raise VideoDecodeError(f"{name} cannot be opened as a video: {describe_error(error)}") from error
        container = cast(Any, truncated)
    assert isinstance(container, InputContainer)
    if container.format.name == "avi":  # whose timestamps are of decoding only; FFmpeg would make up the others
        container.flags &= ~cast(int, Flags.gen_pts.value)
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
            options = {**options, "seekable": "0"}
            return av.open(source, options=_LIMITS, container_options=options, metadata_errors="replace")
        source.seek(0)
        return av.open(
            SimpleNamespace(read=source.read), options=_LIMITS, container_options=options, metadata_errors="replace"
        )
    except Exception:  # the caller reports the error of the first attempt
        return None


def is_playlist(head: bytes) -> bool:
    """Whether a file's first bytes are those of a playlist."""
    return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_PLAYLISTS)


def choose_stream(container: InputContainer, name: str) -> VideoStream:
    """The default video stream, or the first; a cover picture is none.

    Raises:
        VideoDecodeError: there is none, or none that can be decoded, or its frames are too large.
    """
    from av.stream import Disposition

    videos = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    if not videos:
        others = {"cover picture" if stream.type == "video" else stream.type for stream in container.streams}
        raise VideoDecodeError(f"{name} has no video stream, only {' and '.join(sorted(others)) or 'no'} streams")
    stream = next((one for one in videos if one.disposition & Disposition.default), videos[0])
    if stream.codec_context is None:
        raise VideoDecodeError(f"{name} uses a codec that this build of FFmpeg cannot decode")
    check_pixels(name, stream.codec_context.width, stream.codec_context.height)
    return stream


def origin_s(container: InputContainer, stream: VideoStream | AudioStream) -> float:
    """The file's start time on its own clock: that of its earliest stream, so that sound and pictures stay in sync."""
    start = cast("int | None", container.start_time)
    if start is not None:
        return start / 1_000_000
    return float((stream.start_time or 0) * (stream.time_base or Fraction(1)))


def declared_end_s(container: InputContainer, stream: VideoStream) -> float | None:
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


def declared_fps(container: InputContainer, stream: VideoStream) -> float | None:
    """The frame rate that the file declares; None if it declares none, or only the tick of a clock."""
    rate: Fraction | None = stream.average_rate
    if container.format.name in _BARE_STREAMS and stream.codec_context.framerate:
        rate = stream.codec_context.framerate  # the bitstream's own; FFmpeg assumes 25 otherwise
    return float(rate) if rate and rate <= _MAX_FPS else None


def packet_rate(path: Path, stream_index: int) -> float | None:
    """The rate of a file's first packets, without decoding any; None if they have no timestamps."""
    import av

    try:
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            stream = container.streams[stream_index]
            packets = islice((packet for packet in container.demux(stream) if packet.size), _PEEKED_PACKETS)
            times = [packet.pts for packet in packets if packet.pts is not None]
            span_s = float((max(times) - min(times)) * (stream.time_base or 0)) if times else 0.0
    except Exception:  # whatever is wrong with the file, reading it will tell
        return None
    return round((len(times) - 1) / span_s, 3) if span_s else None


def describe_error(error: Exception) -> str:
    """What FFmpeg, or a file object, says of a failure."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
