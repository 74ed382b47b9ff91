"""Files that are written atomically."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from marlin_sdk.atomic import atomic_path


def test_target_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folders" / "talk.npz"
    with atomic_path(target) as part:
        part.write_bytes(b"half")
        assert not target.exists()
        assert (part.parent, part.suffix) == (target.parent, ".npz")
        part.write_bytes(b"whole")
    assert target.read_bytes() == b"whole"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "talk.npz"
    target.write_bytes(b"old")

    def break_off(part: Path) -> None:
        part.write_bytes(b"new")
        raise error

    with pytest.raises(error), atomic_path(target) as part:
        break_off(part)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_target_that_is_a_folder_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "talk.npz").mkdir()
    with pytest.raises(OSError, match=r"talk\.npz"), atomic_path(tmp_path / "talk.npz") as part:
        part.write_bytes(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["talk.npz"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_file_has_the_permissions_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "talk.npz") as part:
            part.write_bytes(b"new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "talk.npz").stat().st_mode) == 0o666 & ~mask


def test_umask_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can be read only by setting it, for every thread: two that do so concurrently may leave it at 0."""

    def touched(mask: int) -> int:
        pytest.fail(f"os.umask({mask:o}) was called")

    monkeypatch.setattr(os, "umask", touched)
    with atomic_path(tmp_path / "talk.npz") as part:
        part.write_bytes(b"new")


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    target = tmp_path / "talk.npz"
    with atomic_path(target) as first, atomic_path(target) as second:
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert target.read_bytes() == b"first"  # the outer one is renamed last
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("stem", ["面" * 80, "a" * 243, "🙂" * 60])
def test_a_name_as_long_as_the_disk_allows_can_be_written(tmp_path: Path, stem: str) -> None:
    target = tmp_path / f"{stem}.safetensors"
    with atomic_path(target) as part:
        part.write_bytes(b"new")
    assert target.read_bytes() == b"new"
