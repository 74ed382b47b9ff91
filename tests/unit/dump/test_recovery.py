from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.unit.dump.example_dumps import (
    SHARDED,
    assert_same,
    closing,
    entry,
    random_features,
    run_python,
    without_file,
    write_dump,
)

from marlin_sdk import FeatureFileError
from marlin_sdk.dump import recovery
from marlin_sdk.dump.manifest import Manifest, ManifestEntry, read_manifest
from marlin_sdk.dump.reading import FeatureDump, shard_entries
from marlin_sdk.dump.recovery import recover_entries, remove_leftovers
from marlin_sdk.dump.writers import open_writer

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.unit.dump.example_dumps import entry, random_features
from marlin_sdk.dump.manifest import Manifest
from marlin_sdk.dump.writers import open_writer

folder, format = Path(sys.argv[1]), sys.argv[2]
writer = open_writer(folder, format, shard_rows=6)
manifest = Manifest(folder / "manifest.jsonl")
for index in range(8):
    features = random_features(3, seed=index)
    sealed = writer.write(entry(f"v{index}", features, {"deduplicate": str(index)}), features)
    if index == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # after the second shard's rename, before its lines
    manifest.append(sealed)
"""


@pytest.mark.parametrize("format", SHARDED)
def test_what_was_sealed_before_a_kill_is_recovered_and_what_was_open_is_removed(tmp_path: Path, format: str) -> None:
    run_python(KILLED, str(tmp_path), format, expected=-signal.SIGKILL)
    known = read_manifest(tmp_path)
    assert list(known) == ["v0", "v1"]

    found = recover_entries(tmp_path, known)
    features = [random_features(3, seed=index) for index in range(4)]
    assert [without_file(one) for one in found] == [
        entry(f"v{index}", features[index], {"deduplicate": str(index)}) for index in (2, 3)
    ]
    with Manifest(tmp_path / "manifest.jsonl") as manifest:
        manifest.append(found)
    dump = FeatureDump(tmp_path)
    assert list(dump) == ["v0", "v1", "v2", "v3"]
    for index, id in enumerate(dump):
        assert_same(dump[id], features[index])
    assert recover_entries(tmp_path, read_manifest(tmp_path)) == []


@pytest.mark.parametrize("format", SHARDED)
def test_lines_that_were_cut_off_in_the_middle_of_a_shard_are_recovered(tmp_path: Path, format: str) -> None:
    write_dump(tmp_path, {f"v{index}": random_features(1, seed=index) for index in range(6)}, format, shard_rows=3)
    path = tmp_path / "manifest.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]) + lines[4][:30])
    assert [one.id for one in recover_entries(tmp_path, read_manifest(tmp_path))] == ["v4", "v5"]
    path.write_bytes(b"")
    assert [one.id for one in recover_entries(tmp_path, ())] == [f"v{index}" for index in range(6)]


@pytest.mark.parametrize("format", SHARDED)
def test_only_shards_that_may_hold_unknown_videos_are_opened(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dump(tmp_path, {f"v{index}": random_features(1, seed=index) for index in range(5)}, format, shard_rows=1)
    opened: list[str] = []

    def noted(path: Path) -> list[ManifestEntry]:
        opened.append(path.stem)
        return shard_entries(path)

    monkeypatch.setattr(recovery, "shard_entries", noted)
    assert recover_entries(tmp_path, read_manifest(tmp_path)) == []
    assert opened == ["features-00005"]


def test_shards_of_other_runs_are_theirs_to_recover(tmp_path: Path) -> None:
    features = random_features(1)
    for suffix in ("-1-of-2", "-2-of-2"):
        with closing(open_writer(tmp_path, "parquet", suffix=suffix)) as writer:
            writer.write(entry(f"v{suffix}", features), features)
            writer.close()
    assert [one.id for one in recover_entries(tmp_path, (), suffix="-2-of-2")] == ["v-2-of-2"]
    assert [one.id for one in recover_entries(tmp_path, ())] == ["v-1-of-2", "v-2-of-2"]


def test_a_broken_shard_is_named(tmp_path: Path) -> None:
    (tmp_path / "features-00001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(FeatureFileError, match=r"features-00001\.parquet is not a shard"):
        recover_entries(tmp_path, ())


def test_partial_files_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    def lay(name: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"x")

    kept = ["a.npz", "manifest.jsonl", ".hidden.npz", "b/.locks/run.lock", "x.part.npz", "features-00001.parquet"]
    own = [".features-1-of-2-00004.0a1b_2c3.part.parquet", ".features-1-of-2-00005.0123456789abcdef.part.tar"]
    others = [".features-2-of-2-00004.0a1b_2c3.part.parquet", "b/.clip 7.v2.0a1b_2c3.part.npz", "b/.c.0a1b.part.json"]
    for name in (*kept, *own, *others):
        lay(name)

    def left() -> list[str]:
        return sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())

    assert remove_leftovers(tmp_path, suffix="-1-of-2") == 2
    assert left() == sorted([*kept, *others])
    assert remove_leftovers(tmp_path) == 3
    assert left() == sorted(kept)
