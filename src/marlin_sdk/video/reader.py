"""Open any supported kind of video source as a reader of frames."""

from __future__ import annotations

import io
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, Union, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, ShapeError, VideoDecodeError, VideoNotFoundError
from marlin_sdk.video.container import ContainerReader
from marlin_sdk.video.frames import MAX_PIXELS, Frame, VideoReader
from marlin_sdk.video.opening import is_playlist
from marlin_sdk.video.sources import IMAGE_SUFFIXES, ArrayReader, ImageFolderReader

__all__ = [
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "URL_SCHEMES",
    "VIDEO_SUFFIXES",
    "Frame",
    "VideoReader",
    "VideoSource",
    "display_name",
    "open_video",
]

VideoSource: TypeAlias = Union[str, "os.PathLike[str]", bytes, BinaryIO, NDArray[np.uint8]]
"""A path, a URL, the bytes of a file, an open binary file, a folder of images, or an array or tensor (T, H, W, 3)."""

URL_SCHEMES = frozenset({"http", "https", "rtmp", "rtmps", "rtsp", "rtsps", "srt", "tcp", "udp"})
"""What the address of a stream may begin with."""

VIDEO_SUFFIXES = frozenset({
    ".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc",
    ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg",
    ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv", ".y4m",
})  # fmt: skip
"""Suffixes of the files that are found in a folder of videos."""


_ENDLESS = frozenset({"/dev/zero", "/dev/full", "/dev/null", "/dev/random", "/dev/urandom"})


def display_name(video: VideoSource) -> str:
    """A video's name in messages, metadata and manifests: a path unchanged, a URL without possible secrets.

    User, password, query and fragment are left out: "https://me:word@host/talk.mp4?key=1" is
    "https://host/talk.mp4?...".

    Args:
        video: see `VideoSource`.
    """
    if isinstance(video, np.ndarray) or (hasattr(video, "detach") and hasattr(video, "numpy")):
        return "<array>"
    if isinstance(video, bytes | bytearray | memoryview):
        return "<bytes>"
    if not isinstance(video, str | os.PathLike):
        return _redacted(str(getattr(video, "name", "<file>")))
    return _redacted(_as_path(video)) if isinstance(video, str) else str(Path(video))


def _redacted(name: str) -> str:
    if "://" not in name:
        return name
    scheme, _, rest = name.partition("://")
    # A URL written by hand may have an unescaped @, #, ? or / in its password.
    before_path, at, _ = rest.partition("/")[0].rpartition("@")
    if at:
        rest = rest[len(before_path) + 1 :]
    elif re.match(r"[^/:]*:(?!\d+/)", rest):  # no port, so a user: the password has a slash
        rest = re.sub(r"^[^?#]*@", "", rest)
    return re.sub(r"([?#;]|%3f|%23|%3b).*", r"\1...", f"{scheme}://{rest}", flags=re.DOTALL | re.IGNORECASE)


def _as_path(video: str) -> str:
    return url2pathname(urlsplit(video).path) if video.startswith("file://") else video


def open_video(video: VideoSource, *, source_fps: float | None = None) -> VideoReader:
    """Open a video.

    Args:
        video: see `VideoSource`. A seekable file object is read from its first byte, whatever its position.
        source_fps: frames a second, for arrays and folders of images; a file has its own clock.
    Returns:
        A reader, to be used in a `with` block and read once.
    Raises:
        VideoNotFoundError: no such file or folder.
        VideoDecodeError: it is not a video; the message says what it is.
        ShapeError: an array that is not uint8 (T, H, W, 3).
        ConfigError: not a video source, an empty name, or a frame rate for a file.
    """
    if hasattr(video, "detach") and hasattr(video, "numpy"):  # a tensor on any device; open files have detach() too
        video = _array_of(video)
    if isinstance(video, str):
        video = _as_path(video)
    if isinstance(video, str) and not video:
        raise ConfigError("the name of the video is empty; expected a path, URL, bytes, file or array")
    if isinstance(video, np.ndarray):
        return ArrayReader(video, source_fps)
    if isinstance(video, str | os.PathLike) and _is_folder(video):
        return ImageFolderReader(Path(video), source_fps)
    if source_fps is not None:
        raise ConfigError(f"source_fps={source_fps} is for arrays and folders of images; this video has its own clock")
    if isinstance(video, bytes | bytearray | memoryview):
        return _open_stream(io.BytesIO(video), "<bytes>")
    if hasattr(video, "read"):
        return _open_stream(cast(BinaryIO, video), display_name(cast(BinaryIO, video)))
    if not isinstance(video, str | os.PathLike):
        raise ConfigError(f"a video is a path, URL, bytes, file or array, not {type(video).__name__}")
    if _is_url(video):
        scheme = str(video).partition("://")[0]
        if scheme.lower() not in URL_SCHEMES:
            raise VideoDecodeError(
                f"{display_name(video)} cannot be opened as a video: addresses that begin with {scheme!r} are refused; "
                f"expected one of {', '.join(sorted(URL_SCHEMES))}"
            )
        return ContainerReader(str(video), name=display_name(video), is_url=True)
    return _open_file(Path(video))


def _array_of(tensor: Any) -> NDArray[Any]:
    if str(tensor.dtype) != "torch.uint8":
        raise ShapeError(f"a video tensor is uint8 (T, H, W, 3); got {tensor.dtype} {tuple(tensor.shape)}")
    return np.asarray(tensor.detach().cpu().numpy())


def _is_url(video: str | os.PathLike[str]) -> bool:
    return isinstance(video, str) and "://" in video


def _is_folder(video: str | os.PathLike[str]) -> bool:
    try:
        return not _is_url(video) and Path(video).is_dir()
    except OSError:  # a name too long, a parent without permission: `_open_file` reports it
        return False


def _open_file(path: Path) -> VideoReader:
    try:
        mode = path.stat().st_mode
        if stat.S_ISBLK(mode) or str(path) in _ENDLESS:
            raise VideoDecodeError(f"{path} is a device, not a video; expected a file, a camera's URL or a pipe")
        # Anything but a regular file (a pipe, a camera) gives its first bytes only once.
        if not stat.S_ISREG(mode):
            return ContainerReader(f"file:{path}", name=str(path))
        with path.open("rb") as file:
            head = file.read(64)
    except FileNotFoundError as error:
        raise VideoNotFoundError(f"no such video: {path}") from error
    except (OSError, ValueError) as error:
        raise VideoDecodeError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    _check_head(head, str(path))
    return ContainerReader(f"file:{path}", name=str(path))


def _open_stream(file: BinaryIO, name: str) -> VideoReader:
    try:
        head = _peek(file)
    except Exception as error:  # anything that the caller's object raises
        raise VideoDecodeError(f"{name} cannot be read as a binary file: {error}") from error
    if head is not None:
        if not isinstance(head, bytes):
            raise VideoDecodeError(f"{name} is open as text; open it in binary mode")
        _check_head(head, name)
    return ContainerReader(file, name=name)


def _peek(file: BinaryIO) -> bytes | None:
    """The first bytes of a file, which is then rewound; None if it is not seekable."""
    if not (hasattr(file, "seek") and hasattr(file, "tell")) or (hasattr(file, "seekable") and not file.seekable()):
        return None
    file.seek(0)
    head = file.read(64)
    file.seek(0)
    return head


def _check_head(head: bytes, name: str) -> None:
    if not head:
        raise VideoDecodeError(f"{name} is empty (0 bytes)")
    if is_playlist(head):
        raise VideoDecodeError(f"{name} is a playlist, which refers to other files; it is refused: pass those files")
