"""What became of each video, and what a killed run leaves of it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk.dump.manifest import Manifest, ManifestEntry, read_manifest
from marlin_sdk.errors import FeatureFileError


def entry(id: str, status: str = "ok", *, at: float = 1.0) -> ManifestEntry:
    return ManifestEntry(id=id, source=f"{id}.mp4", status=status, rows=3, finished_at=at)  # type: ignore[arg-type]


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    told = [
        ManifestEntry(id="ä/b", source="x\n.mp4", status="partial", labels={"emotion": "joy"}, message='a "quote"'),
        entry("c", "failed"),
    ]
    with Manifest(tmp_path / "manifest.jsonl") as manifest:
        manifest.append(told[:1])
        manifest.append(told[1:])
    assert read_manifest(tmp_path) == {"ä/b": told[0], "c": told[1]}
    assert read_manifest(tmp_path / "nowhere") == {}


def test_the_newest_entry_of_a_video_counts_over_all_shards(tmp_path: Path) -> None:
    for name, status, at in (("-1-of-2", "ok", 5.0), ("-2-of-2", "failed", 3.0), ("", "failed", 4.0)):
        with Manifest(tmp_path / f"manifest{name}.jsonl") as manifest:
            manifest.append([entry("a", status, at=at)])
    assert read_manifest(tmp_path)["a"].status == "ok"


def test_a_finished_video_is_finished_whatever_the_clocks_say(tmp_path: Path) -> None:
    for name, status, at in (("-1-of-2", "ok", 5.0), ("-2-of-2", "failed", 9.0), ("", "no_face", 4.0)):
        with Manifest(tmp_path / f"manifest{name}.jsonl") as manifest:
            manifest.append([entry("a", status, at=at)])
    assert read_manifest(tmp_path)["a"].status == "ok"


@given(cut=st.integers(min_value=1, max_value=400))
def test_a_line_that_a_kill_has_cut_is_dropped_and_the_rest_kept(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "manifest.jsonl"
    with Manifest(path) as manifest:
        manifest.append([entry(str(index)) for index in range(4)])
    whole = path.read_bytes()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    left = path.read_bytes().count(b"\n")
    assert list(read_manifest(path.parent)) == [str(index) for index in range(left)]
    with Manifest(path) as manifest:
        manifest.append([entry("new")])
    assert list(read_manifest(path.parent)) == [*(str(index) for index in range(left)), "new"]


def test_a_foreign_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.jsonl").write_text(f"{entry('a').to_json()}\nnonsense\n")
    with pytest.raises(FeatureFileError, match=r"manifest.jsonl, line 2"):
        read_manifest(tmp_path)


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Manifest(tmp_path / "manifest.jsonl") as manifest:
        manifest.append([entry("a")])

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            manifest.append([entry("b")])
    assert list(read_manifest(tmp_path)) == ["a"]


def test_only_failures_are_left_to_do() -> None:
    assert [s for s in ("ok", "partial", "no_face", "failed", "skipped") if not entry("a", s).is_final] == ["failed"]
