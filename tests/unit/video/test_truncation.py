"""Files in formats that declare no length: complete and truncated ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.making import lay, noise, write_video

from marlin_sdk.video.reader import open_video
from marlin_sdk.video.truncation import describe_truncation

KINDS: dict[str, dict[str, Any]] = {"ts": {}, "m2ts": {}, "gif": {"codec": "gif", "pix_fmt": "rgb8"}}


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


def test_other_formats_are_not_checked(tmp_path: Path) -> None:
    assert describe_truncation(tmp_path / "none.mkv", "matroska,webm") is None
