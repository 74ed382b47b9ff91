"""Detect files that break off, or are damaged, where their format shows it but FFmpeg does not say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["describe_truncation"]

_TS_PACKETS = (188, 192, 204)  # bytes: plain, with a time stamp (.m2ts), with error correction
_GIF_IMAGE, _GIF_EXTENSION, _GIF_TRAILER = b"\x2c", b"\x21", b"\x3b"
_BOX_HEADER = 8
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_MATROSKA = {  # elements of a file, of a segment and of a cluster (RFC 9559, section 5.1)
    0x1A45DFA3, 0xEC, 0xBF, _SEGMENT,
    0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, _CLUSTER,
    0xE7, 0x5854, 0xA7, 0xAB, 0xA3, 0xA0, 0xAF,
}  # fmt: skip
_START_CODE, _PACK, _PROGRAM_END = b"\0\0\1", 0xBA, 0xB9
_FLV_TAGS, _FLV_HEADER = {8, 9, 18}, 11  # sound, video, data
_PES_HEADER, _MPEG1_PACK_HEADER, _PACK_HEADER = 6, 12, 14


def describe_truncation(path: Path, format: str) -> str | None:
    """Describe how a file is truncated or damaged, by the structure of its format.

    Args:
        path: of a regular file.
        format: FFmpeg's name of its container; MPEG, FLV, GIF and those of MP4 and Matroska are checked.
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
    """Walk the boxes (ISO/IEC 14496-12, section 4.2): each must lie within the file.

    What is no box may follow the last one, except where the pictures are in fragments: more of them may have followed.
    """
    at, is_fragmented = 0, False
    while at + _BOX_HEADER <= size:
        file.seek(at)
        header = file.read(2 * _BOX_HEADER)
        length, name = int.from_bytes(header[:4], "big"), header[4:8]
        if length == 0 and name == b"mdat":  # reaches to the end
            return None
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length < _BOX_HEADER or not (name.isascii() and name.decode().isprintable()):
            return f"is damaged at byte {at:,} of {size:,}: no MP4 box begins there" if is_fragmented else None
        if at + length > size:
            excess = at + length - size
            return f"its last box ({name.decode()!r}) reaches {excess:,} bytes past the end: the file is truncated"
        is_fragmented |= name == b"moof"
        at += length
    return None


def _check_matroska(file: BinaryIO, size: int) -> str | None:
    """Walk the elements of the first segment and of its clusters (RFC 8794): each must be known and lie within it."""
    at, end = 0, size
    while at < end:
        file.seek(at)
        head = file.read(12)
        width = _vint_bytes(head)
        length_width = _vint_bytes(head[width:])
        element = int.from_bytes(head[:width], "big")
        if not width or not length_width or element not in _MATROSKA:
            return f"is damaged at byte {at:,} of {size:,}: no Matroska element begins there"
        largest = 2 ** (7 * length_width) - 1  # stands for a length that the writer did not know
        length = int.from_bytes(head[width : width + length_width], "big") & largest
        at += width + length_width
        if element == _SEGMENT:
            end = at + length if 0 < length < largest else size
        elif element != _CLUSTER:
            at += length
    return f"ends {at - size:,} bytes early: the file is truncated" if at > size else None


def _vint_bytes(data: bytes) -> int:
    """The width of the number of variable size that begins there; 0 if none does."""
    return 9 - data[0].bit_length() if data and data[0] else 0


def _check_mpeg(file: BinaryIO, size: int) -> str | None:
    """Walk the packets of a program stream (ISO/IEC 13818-1, section 2.5): each must follow the one before."""
    at = 0
    while at + _PES_HEADER <= size:
        file.seek(at)
        head = file.read(_PACK_HEADER)
        start = head.find(_START_CODE)
        padding = head if start < 0 else head[:start]
        if any(padding):
            return f"is damaged at byte {at:,} of {size:,}: no MPEG packet begins there"
        if padding:
            at += start if start > 0 else len(head) - 2  # two zeros begin a packet, too
        elif head[3] == _PROGRAM_END:
            at += 4
        elif head[3] == _PACK and head[4] >> 6 == 1:
            at += _PACK_HEADER + (head[-1] & 7)
        elif head[3] == _PACK:
            at += _MPEG1_PACK_HEADER
        else:
            at += _PES_HEADER + int.from_bytes(head[4:6], "big")
    return "ends in the middle of a packet: the file is truncated" if at > size else None


def _check_flv(file: BinaryIO, size: int) -> str | None:
    """Walk the tags (Adobe Flash Video File Format 10.1, annex E): each must follow the one before."""
    at = int.from_bytes(file.read(9)[5:], "big") + 4
    while at + _FLV_HEADER <= size:
        file.seek(at)
        head = file.read(4)
        if head[0] & 0x1F not in _FLV_TAGS:
            return f"is damaged at byte {at:,} of {size:,}: no FLV tag begins there"
        at += _FLV_HEADER + int.from_bytes(head[1:], "big") + 4  # and its own length again
    return "ends in the middle of a tag: the file is truncated" if at > size + 4 else None


def _check_gif(file: BinaryIO, size: int) -> str | None:
    return _check_gif_blocks(file, size) or _check_gif_pictures(file)


def _check_gif_pictures(file: BinaryIO) -> str | None:
    """Decode it by Pillow, too: FFmpeg takes a picture whose data end early, or come from two, as whole."""
    from PIL import Image, ImageSequence

    number = 0
    try:
        file.seek(0)
        with Image.open(file, formats=["GIF"]) as image:
            for number, picture in enumerate(ImageSequence.Iterator(image), start=1):  # noqa: B007
                picture.load()
    except Exception as error:  # Pillow raises many kinds
        return f"picture {number} is damaged: {error}"
    return None


def _check_gif_blocks(file: BinaryIO, size: int) -> str | None:
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


_CHECKS: dict[str, Callable[[BinaryIO, int], str | None]] = {
    "mpegts": _check_ts,
    "mpeg": _check_mpeg,
    "mov": _check_mp4,
    "matroska": _check_matroska,
    "flv": _check_flv,
    "gif": _check_gif,
}
