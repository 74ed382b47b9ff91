"""Detect truncated files, in formats that declare no length, by how they end."""

from __future__ import annotations

from pathlib import Path

__all__ = ["describe_truncation"]

_TS_PACKETS = (188, 192, 204)  # bytes: plain, with a time stamp (.m2ts), with error correction
_GIF_TRAILER = b"\x3b"


def describe_truncation(path: Path, format: str) -> str | None:
    """Describe how a file is truncated.

    Args:
        path: of a regular file.
        format: FFmpeg's name of its container; only "mpegts" and "gif" are checked.
    Returns:
        What is wrong; None if no truncation is found, as in a file that was cut between two packets.
    """
    if format == "mpegts":
        size = path.stat().st_size
        if all(size % packet for packet in _TS_PACKETS):
            return "ends in the middle of a packet: the file is truncated"
    if format == "gif":
        with path.open("rb") as file:
            file.seek(-min(64, path.stat().st_size), 2)
            if not file.read().rstrip(b"\0\r\n").endswith(_GIF_TRAILER):
                return "ends without a GIF trailer: the file is truncated"
    return None
