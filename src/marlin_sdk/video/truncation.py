"""Whether a file of a format that does not say how long it is was cut off: told by how it ends."""

from __future__ import annotations

from pathlib import Path

__all__ = ["describe_truncation"]

_TS_PACKETS = (188, 192, 204)  # bytes: plain, with a time stamp (.m2ts), with error correction
_GIF_END = b"\x3b"


def describe_truncation(path: Path, format: str) -> str | None:
    """How a file ends that is not whole.

    Args:
        path: of a plain file.
        format: FFmpeg's name of its container; others than "mpegts" and "gif" are not looked at.
    Returns:
        What is wrong; None where nothing can be seen, as in a file that was cut between two packets.
    """
    if format == "mpegts":
        size = path.stat().st_size
        if all(size % packet for packet in _TS_PACKETS):
            return "ends in the middle of a packet: the file is cut off"
    if format == "gif":
        with path.open("rb") as file:
            file.seek(-min(64, path.stat().st_size), 2)
            if not file.read().rstrip(b"\0\r\n").endswith(_GIF_END):
                return "ends without the mark of its end: the file is cut off"
    return None
