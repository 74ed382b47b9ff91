"""The folder of a dump: resumed, refused, made anew, and resumable when its disk is full."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.making import lay
from tests.unit.dump.example_dumps import FORMATS, SHARDED, assert_same, random_features

from marlin_sdk import ConfigError, FeatureFileError
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.store import Dump, open_dump
from marlin_sdk.batch.workers import Failure
from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.manifest import Manifest, ManifestEntry, manifests, read_manifest
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.dump.settings import read_settings
from marlin_sdk.inputs.videos import VideoInput, select

IDENTITY: dict[str, Any] = {
    "weights": {"model": "tiny", "untrained": True, "seed": 0},
    "dtype": "float32",
    "settings": {"stride": 16, "faces": "largest"},
}
OTHER = {**IDENTITY, "settings": {"stride": 8, "faces": "largest"}}


def inputs(*ids: str) -> list[VideoInput]:
    return [VideoInput(id, f"in/{id}.mp4") for id in ids]


def result(video: VideoInput, rows: int = 4) -> VideoResult:
    return VideoResult(video, random_features(rows, seed=len(video.id)), None, 0.5)


def failed(video: VideoInput) -> VideoResult:
    return VideoResult(video, None, Failure("VideoDecodeError", "is empty"), 0.1)


def fill(plan: DumpPlan, *ids: str, identity: dict[str, Any] = IDENTITY) -> list[str]:
    """Do what is to be done; what that was."""
    with open_dump(plan, identity) as dump:
        todo = select(inputs(*ids), dump.lacks)
        for video in todo:
            dump.store(failed(video) if video.id.startswith("bad") else result(video))
    return [video.id for video in todo]


@pytest.mark.parametrize("format", FORMATS)
def test_a_rerun_does_only_what_is_missing(tmp_path: Path, format: str) -> None:
    plan = DumpPlan(tmp_path, format)
    assert fill(plan, "a", "deep/er/b") == ["a", "deep/er/b"]
    assert fill(plan, "a", "deep/er/b", "c") == ["c"]
    dump = FeatureDump(tmp_path)
    assert list(dump) == ["a", "deep/er/b", "c"]
    for id in dump:
        assert_same(dump[id], random_features(4, seed=len(id)))


@pytest.mark.parametrize("format", FORMATS)
def test_what_somebody_removed_is_made_again(tmp_path: Path, format: str) -> None:
    plan = DumpPlan(tmp_path, format, shard_rows=8)
    fill(plan, "a", "deep/b", "c", "d", "none")
    gone = FeatureDump(tmp_path).entries["deep/b"].file
    assert gone is not None
    (tmp_path / gone).unlink()
    lost = [id for id in ("a", "deep/b") if FeatureDump(tmp_path).entries[id].file == gone]
    with open_dump(plan, IDENTITY) as dump:  # and this run is stopped after one of them
        todo = select(inputs("a", "deep/b", "c", "d", "none"), dump.lacks)
        assert [video.id for video in todo] == lost
        dump.store(result(todo[0]))
    assert fill(plan, "a", "deep/b", "c", "d", "none") == lost[1:]
    dump_again = FeatureDump(tmp_path)
    assert sorted(dump_again) == ["a", "c", "d", "deep/b", "none"]
    for id in dump_again:
        assert_same(dump_again[id], random_features(4, seed=len(id)))


def test_a_dump_that_lost_its_settings_is_not_mixed_with_others(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path)
    fill(plan, "a")
    (tmp_path / "settings.json").unlink()
    with pytest.raises(ConfigError, match=r"other settings, and no settings.json"):
        fill(plan, "a", "b", identity=OTHER)
    assert fill(plan, "a", "b") == ["b"]
    assert read_settings(tmp_path) is not None


def test_what_failed_is_done_again_unless_that_is_not_wanted(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path)
    fill(plan, "a", "bad")
    assert fill(replace(plan, retry_failed=False), "a", "bad") == []
    assert fill(plan, "a", "bad") == ["bad"]
    assert read_manifest(tmp_path)["bad"].error == "VideoDecodeError"


def test_another_clock_does_not_bring_an_old_failure_back(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path, "parquet")
    fill(plan, "bad")
    with Manifest(tmp_path / "manifest.jsonl") as manifest:  # later, by a clock that has been set back
        manifest.append([ManifestEntry(id="bad", source="in/bad.mp4", status="ok", rows=1, finished_at=1.0)])
    assert fill(plan, "bad") == []


def test_other_settings_are_refused_with_what_differs(tmp_path: Path) -> None:
    fill(DumpPlan(tmp_path), "a")
    with pytest.raises(ConfigError) as caught, open_dump(DumpPlan(tmp_path, "parquet"), OTHER):
        pass
    said = str(caught.value)
    assert "format: 'npz' there, 'parquet' requested" in said
    assert "settings.stride: 16 there, 8 requested" in said
    assert "faces" not in said
    assert "--overwrite" in said
    assert fill(DumpPlan(tmp_path), "a") == []


@pytest.mark.parametrize("after", ["npz", "parquet"])
@pytest.mark.parametrize("before", FORMATS)
def test_overwrite_takes_away_all_that_was_made_and_nothing_else(tmp_path: Path, before: str, after: str) -> None:
    folder = tmp_path / "out"
    fill(DumpPlan(folder, before, shard_rows=4), "a", "deep/b", "c")
    own = [lay(folder / name, b"mine") for name in ("a.json", "notes.txt", "deep/b.mp4", "deep/b.json")]
    made = {path for path in folder.rglob("*") if path.is_file()} - set(own)
    assert len(made) > 3
    assert fill(DumpPlan(folder, after, overwrite=True), "a", identity=OTHER) == ["a"]
    assert [path.read_bytes() for path in own] == [b"mine"] * 4
    settings = read_settings(folder)
    assert settings is not None
    assert settings["identity"] == OTHER
    assert {path.name for path in folder.rglob("*") if path.is_file() and ".locks" not in path.parts} == {
        *("a.json", "notes.txt", "b.mp4", "b.json"),
        *(
            ("manifest.jsonl", "settings.json", "a.npz")
            if after == "npz"
            else ("_manifest.jsonl", "_settings.json", "features-00001.parquet")
        ),
    }
    assert list(FeatureDump(folder)) == ["a"]


def test_overwrite_does_not_follow_a_hostile_manifest(tmp_path: Path) -> None:
    outside = lay(tmp_path / "precious.npz")
    plan = DumpPlan(tmp_path / "out")
    fill(plan, "a")
    with Manifest(plan.folder / "manifest.jsonl") as manifest:
        for file in ("../precious.npz", str(outside), "."):
            manifest.append([ManifestEntry(id=file, source="x", status="ok", rows=1, file=file)])
    fill(replace(plan, overwrite=True), "a")
    assert outside.read_bytes() == b"weights"


def test_overwrite_of_one_shard_is_refused(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path, shard=Shard(1, 2))
    fill(plan, "a")
    with pytest.raises(ConfigError, match="without --shard"):
        fill(replace(plan, overwrite=True), "a")
    assert list(FeatureDump(tmp_path)) == ["a"]


def test_an_id_stands_for_one_part_of_its_video(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path)
    first = VideoInput("clip", "in/talk.mp4", 1.0, 2.5)
    with open_dump(plan, IDENTITY) as dump:
        dump.store(result(first))
    with open_dump(plan, IDENTITY) as dump:
        assert not dump.lacks(first)
        with pytest.raises(
            ConfigError, match=r"already holds 'clip'.*\(1.0, 2.5, None\) there, \(1.0, 4.0, None\) requested"
        ):
            dump.lacks(replace(first, end_s=4.0))


@pytest.mark.parametrize("format", SHARDED)
def test_rows_that_a_kill_cut_off_from_the_manifest_are_not_made_again(tmp_path: Path, format: str) -> None:
    plan = DumpPlan(tmp_path, format, shard_rows=8)
    fill(plan, "a", "b", "c", "d", "e")
    (manifest,) = manifests(tmp_path)
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:1]) + '{"id": "b", "sou')
    assert fill(plan, "a", "b", "c", "d", "e", "f") == ["f"]
    assert sorted(FeatureDump(tmp_path)) == ["a", "b", "c", "d", "e", "f"]
    assert sum(line.count('"id"') for line in manifest.read_text().splitlines()) == 6


@pytest.mark.parametrize("how", [KeyboardInterrupt, RuntimeError, ConfigError])
def test_what_is_whole_is_kept_when_a_run_is_stopped(tmp_path: Path, how: type[BaseException]) -> None:
    plan = DumpPlan(tmp_path, "parquet")

    def stop_amid() -> None:
        with open_dump(plan, IDENTITY) as dump:
            dump.store(result(inputs("a")[0]))
            raise how("stop")

    with pytest.raises(how):
        stop_amid()
    assert fill(plan, "a", "b") == ["b"]
    assert list(FeatureDump(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("kind", ["folder", "long"])
def test_a_file_that_cannot_be_written_costs_one_video(tmp_path: Path, kind: str) -> None:
    id = "taken" if kind == "folder" else "x" * 300
    (tmp_path / "taken.npz").mkdir()
    plan = DumpPlan(tmp_path)
    with open_dump(plan, IDENTITY) as dump:
        entries = [dump.store(result(video)) for video in inputs(id, "b")]
    assert [(entry.status, entry.rows, entry.error) for entry in entries] == [
        ("failed", 0, "FeatureFileError"),
        ("partial", 4, None),
    ]
    assert "cannot write" in (entries[0].message or "")
    assert {id: entry.status for id, entry in read_manifest(tmp_path).items()} == {id: "failed", "b": "partial"}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 160 kB, where this process may make one; else no file may be larger than 12 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(place)], check=False)
    if made.returncode == 0:
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        return
    import signal

    before, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (12 << 10, before[1]))
    try:
        yield place
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("format", FORMATS)
def test_full_disk_is_one_clear_error_and_a_resumable_folder(small_disk: Path, tmp_path: Path, format: str) -> None:
    plan = DumpPlan(small_disk / "out", format, shard_rows=12)
    ids = [f"{index:03d}" for index in range(200)]
    with pytest.raises(FeatureFileError, match=r"the disk is full|cannot write .*File too large") as caught:
        fill(plan, *ids)
    assert "\n" not in str(caught.value)
    done = list(FeatureDump(plan.folder))
    assert 0 < len(done) < 200
    assert [path for path in plan.folder.rglob("*") if ".part." in path.name] == []
    more = replace(plan, folder=tmp_path / "larger")
    plan.folder.rename(more.folder) if plan.folder.stat().st_dev == tmp_path.stat().st_dev else subprocess.run(
        ["cp", "-r", str(plan.folder), str(more.folder)], check=True
    )
    assert fill(more, *ids) == [id for id in ids if id not in done]
    assert sorted(FeatureDump(more.folder)) == ids


def test_disk_that_is_full_for_the_manifest_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = DumpPlan(tmp_path)
    sync = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "manifest.jsonl":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FeatureFileError, match=r"the disk is full: .*manifest.jsonl was not written"):
            fill(plan, "a")
    assert fill(plan, "a") == ["a"]


def test_manifest_that_outgrows_its_disk_keeps_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "manifest.jsonl"
    entries = [ManifestEntry(id=f"{index:03d}", source="x" * 50, status="ok") for index in range(40)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Manifest(path) as manifest:
        manifest.append(entries[:10])
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 200, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                manifest.append(entries[10:])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert list(read_manifest(tmp_path)) == [entry.id for entry in entries[:10]]
        manifest.append(entries[10:12])
    assert list(read_manifest(tmp_path)) == [entry.id for entry in entries[:12]]
    assert path.read_bytes().count(b"\n") == 12


@pytest.mark.parametrize("where", ["file", "file/deep", "/proc/none"])
def test_folder_that_cannot_be_made(tmp_path: Path, where: str) -> None:
    lay(tmp_path / "file")
    with pytest.raises(ConfigError, match=f"cannot write to .*{where}.*choose another folder"):
        fill(DumpPlan(tmp_path / where), "a")


def test_settings_of_another_program(tmp_path: Path) -> None:
    lay(tmp_path / "settings.json", b"[1, 2")
    with pytest.raises(FeatureFileError, match=r"settings.json cannot be read"):
        fill(DumpPlan(tmp_path), "a")
    assert read_settings(tmp_path / "nowhere") is None


def test_a_hundred_thousand_finished_videos_are_passed_over_fast(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path)
    fill(plan, "first")
    line = json.loads((tmp_path / "manifest.jsonl").read_text())
    with (tmp_path / "manifest.jsonl").open("a") as manifest:
        for index in range(100_000):
            manifest.write(json.dumps({**line, "id": f"speaker{index % 97}/clip{index:06d}"}) + "\n")
    videos = inputs("first", *(f"speaker{index % 97}/clip{index:06d}" for index in range(100_000)), "missing")
    begin_s = time.process_time()
    entries = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    least_s = time.process_time() - begin_s  # what reading it takes on this machine, at this moment
    begin_s = time.process_time()
    dump: Dump
    with open_dump(plan, IDENTITY) as dump:
        assert [video.id for video in select(videos, dump.lacks)] == ["missing"]
    assert time.process_time() - begin_s < 8 * least_s, least_s
    assert len(entries) == 100_001
