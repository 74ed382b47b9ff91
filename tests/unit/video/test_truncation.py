"""Files in formats that declare no length: complete and truncated ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tests.making import lay, noise, write_video

from marlin_sdk.video.reader import open_video
from marlin_sdk.video.truncation import describe_truncation

GIF: dict[str, Any] = {"codec": "gif", "pix_fmt": "rgb8"}
KINDS: dict[str, dict[str, Any]] = {"ts": {}, "m2ts": {}, "gif": GIF, "mpg": {"codec": "mpeg2video"}, "flv": {}}


def read(path: Path) -> tuple[int, bool, list[str]]:
    with open_video(path) as reader:
        return sum(1 for _ in reader), reader.is_damaged, reader.warnings


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_distinguished_from_a_complete_one(tmp_path: Path, kind: str) -> None:
    whole = write_video(tmp_path / f"whole.{kind}", noise(50, 64, 64), **KINDS[kind])
    assert read(whole) == (50, False, [])
    data = whole.read_bytes()
    cut = lay(tmp_path / f"cut.{kind}", data[: len(data) * 3 // 5 // 1316 * 1316 + 77])
    count, is_damaged, warnings = read(cut)
    assert 20 <= count < 50
    assert is_damaged
    assert len(warnings) == 1
    assert "the file is truncated" in warnings[0]


def test_zeros_after_the_end_of_a_gif_are_allowed(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.gif", noise(9, 32, 32), codec="gif", pix_fmt="rgb8")
    padded = lay(tmp_path / "padded.gif", whole.read_bytes() + bytes(20))
    assert read(padded) == (9, False, [])


def test_matroska_that_is_damaged_shortly_before_its_end(tmp_path: Path) -> None:
    """FFmpeg then ends; what is missing is shorter than declared lengths are exact."""
    whole = write_video(tmp_path / "whole.webm", noise(60, 64, 64), codec="libvpx-vp9")
    assert read(whole) == (60, False, [])
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        position = [packet.pos for packet in container.demux(video=0) if packet.size][54]
    assert position
    data[position - 6 : position] = bytes(6)
    count, is_damaged, warnings = read(lay(tmp_path / "damaged.webm", bytes(data)))
    assert 50 < count < 58
    assert is_damaged
    assert "no Matroska element begins there" in warnings[0]


def test_gif_whose_pictures_run_into_each_other(tmp_path: Path) -> None:
    """Whole blocks are missing, so that one picture is made of two; FFmpeg takes it as whole."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    data = write_video(tmp_path / "whole.gif", pixels, **GIF).read_bytes()
    pictures = [match.start() for match in re.finditer(rb"\x21\xf9\x04....\x00\x2c", data, re.DOTALL)]
    assert len(pictures) == 20

    def block(picture: int, number: int) -> int:
        """Where a block of 256 bytes begins, behind the picture's head."""
        flags = data[pictures[picture] + 17]
        table_bytes = 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0
        return pictures[picture] + 19 + table_bytes + 256 * number

    damaged = lay(tmp_path / "damaged.gif", data[: block(3, 5)] + data[block(8, 10) :])
    count, is_damaged, warnings = read(damaged)
    assert (count, is_damaged) == (15, True), warnings
    assert "picture 4 is damaged" in warnings[0]


def test_fragments_behind_a_stretch_of_zeros(tmp_path: Path) -> None:
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    whole = write_video(tmp_path / "whole.mp4", noise(48, 64, 64), options={"g": "12"}, container_options=fragments)
    assert read(whole) == (48, False, [])
    data = bytearray(whole.read_bytes())
    second = data.index(b"moof", data.index(b"moof") + 4)
    end = data.index(b"mdat", second) + 4
    data[second:end] = bytes(end - second)
    count, is_damaged, warnings = read(lay(tmp_path / "damaged.mp4", bytes(data)))
    assert (count, is_damaged) == (12, True)
    assert "no MP4 box begins there" in warnings[0]


def test_what_follows_the_last_packets_is_no_damage(tmp_path: Path) -> None:
    mpeg = write_video(tmp_path / "a.mpg", noise(30, 64, 64), codec="mpeg2video")
    end = b"\0\0\1\xb9"
    assert read(lay(tmp_path / "b.mpg", mpeg.read_bytes() + end + bytes(1000))) == (30, False, [])
    mkv = write_video(tmp_path / "a.mkv", noise(30, 64, 64))
    assert read(lay(tmp_path / "b.mkv", mkv.read_bytes() + b"more")) == (30, False, [])
    live = write_video(tmp_path / "c.mkv", noise(30, 64, 64), container_options={"live": "1"})
    assert read(live) == (30, False, [])


def test_other_formats_are_not_checked(tmp_path: Path) -> None:
    assert describe_truncation(tmp_path / "none.avi", "avi") is None
