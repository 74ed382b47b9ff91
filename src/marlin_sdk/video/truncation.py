"""Detect files that break off, or are damaged, where their format shows it but FFmpeg does not say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["describe_truncation"]

_TS_PACKETS = (188, 192, 204)  # bytes: plain, with a time stamp (.m2ts), with error correction
_GIF_IMAGE, _GIF_EXTENSION, _GIF_TRAILER = b"\x2c", b"\x21", b"\x3b"
_BOX_HEADER = 8


def describe_truncation(path: Path, format: str) -> str | None:
    """Describe how a file is truncated or damaged, by the structure of its format.

    Args:
        path: of a regular file.
        format: FFmpeg's name of its container: "mpegts", "gif" and those of MP4 are checked.
    Returns:
        What is wrong; None if nothing is found, as in a file that was cut between two packets.
    """
    check = _CHECKS.get(format.partition(",")[0])
    if check is None:
        return None
    with path.open("rb") as file:
        return check(file, path.stat().st_size)


def _check_ts(_: BinaryIO, size: int) -> str | None:
    if all(size % packet for packet in _TS_PACKETS):
        return "ends in the middle of a packet: the file is truncated"
    return None


def _check_mp4(file: BinaryIO, size: int) -> str | None:
    """Walk the boxes (ISO/IEC 14496-12, section 4.2): each must lie within the file."""
    at = 0
    while at + _BOX_HEADER <= size:
        file.seek(at)
        header = file.read(2 * _BOX_HEADER)
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:  # the last box reaches to the end
            return None
        if length < _BOX_HEADER:
            return None  # no box: other data behind the last one
        if at + length > size:
            name = header[4:8].decode("latin-1")
            return f"its last box ({name!r}) reaches {at + length - size:,} bytes past the end: the file is truncated"
        at += length
    return None


def _check_gif(file: BinaryIO, size: int) -> str | None:
    """Walk the blocks (GIF89a specification): each must follow the other up to the trailer."""
    header = file.read(13)
    file.seek(_colour_table_bytes(header[10]), 1)
    while (introducer := file.read(1)) != _GIF_TRAILER:
        if introducer == _GIF_IMAGE:
            file.seek(_colour_table_bytes(file.read(9)[-1:][0]) + 1, 1)
        elif introducer == _GIF_EXTENSION:
            file.seek(1, 1)
        elif not introducer:
            return "ends without a GIF trailer: the file is truncated"
        else:
            return f"is damaged at byte {file.tell() - 1:,} of {size:,}: no GIF block begins there"
        while length := file.read(1)[:1]:
            if length == b"\0":
                break
            file.seek(length[0], 1)
    return None


def _colour_table_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


_CHECKS: dict[str, Callable[[BinaryIO, int], str | None]] = {"mpegts": _check_ts, "mov": _check_mp4, "gif": _check_gif}
