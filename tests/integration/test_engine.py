"""`marlin-extract` at work: stopped, refused, robbed of a worker or of its disk, over shards, devices and tables."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.integration.warm import Run, WarmCommand
from tests.making import lay, noise, write_video
from tests.patience import wait_for
from tests.unit.batch.engines import assert_alike

from marlin_sdk import Marlin
from marlin_sdk.dump.manifest import read_manifest
from marlin_sdk.dump.reading import FeatureDump

OUT = Path("out")
HELD = """
import itertools, time
own, count = marlin_sdk.marlin.Marlin.embed_clips, itertools.count(1)
def embed_clips(self, clips, **options):
    while next(count) > {batches} and not os.path.exists("go"):  # as a very large model does
        time.sleep(0.02)
    return own(self, clips, **options)
marlin_sdk.marlin.Marlin.embed_clips = embed_clips
"""
"""The model embeds so many batches, and then holds everything up until there is a file `go`."""


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve of one to three windows."""
    folder = tmp_path_factory.mktemp("videos")
    for index in range(12):
        write_video(folder / f"{index:02d}.mp4", noise(20 + 30 * (index % 3), 32, 32, seed=index))
    return folder


def done(folder: Path = OUT) -> list[str]:
    return sorted(id for id, entry in read_manifest(folder).items() if entry.is_final)


def assert_whole(folder: Path, videos: Path, model: Marlin) -> None:
    dump = FeatureDump(folder)
    assert sorted(dump) == sorted(path.stem for path in videos.iterdir())
    for id in dump:
        assert_alike(dump[id], model.extract(videos / f"{id}.mp4"))


@pytest.mark.parametrize(
    ("number", "to_all"), [(signal.SIGINT, False), (signal.SIGTERM, True)], ids=["Ctrl-C", "SIGTERM to all"]
)
def test_one_signal_finishes_what_is_in_flight(
    warm: WarmCommand, videos: Path, tiny: Marlin, number: signal.Signals, to_all: bool
) -> None:
    run = warm.start(videos, "-o", OUT, "--format", "parquet", "--batch-size", "1", before=HELD.format(batches=5))
    wait_for(lambda: "-> " in run.said)
    run.send(number, to_all=to_all)  # a terminal, or Slurm, sends it to the workers too
    wait_for(lambda: "finishing the videos in flight" in run.said)
    lay(Path("go"))
    assert run.wait() == 130, run.said
    assert "finishing the videos in flight; repeat to stop immediately" in run.said
    assert "stopped; finished videos are kept, and a rerun resumes from there" in run.said
    assert "Traceback" not in run.said
    kept = done()
    assert 0 < len(kept) < 12
    code, said = warm.run(videos, "-o", OUT, "--format", "parquet")
    assert (code, f"{len(kept)} done before" in said, done()) == (0, True, [f"{index:02d}" for index in range(12)])
    assert_whole(OUT, videos, tiny)


def test_second_ctrl_c_stops_at_once(warm: WarmCommand, videos: Path, tiny: Marlin) -> None:
    run = warm.start(videos, "-o", OUT, before=HELD.format(batches=0))
    wait_for(lambda: run.workers() and (OUT / "settings.json").exists())
    time.sleep(0.5)
    run.send(signal.SIGINT)
    wait_for(lambda: "finishing the videos in flight" in run.said)
    time.sleep(0.2)
    run.send(signal.SIGINT)
    assert run.wait() == 130, run.said  # though the model is held up for ever
    assert "Traceback" not in run.said
    assert "12 not done" in run.said
    assert warm.run(videos, "-o", OUT)[0] == 0
    assert_whole(OUT, videos, tiny)


def test_second_run_is_refused_with_pid_and_host(warm: WarmCommand, videos: Path) -> None:
    run = warm.start(videos, "-o", OUT, before=HELD.format(batches=0))
    wait_for((OUT / "settings.json").exists)
    for options in ((), ("--overwrite",), ("--shard", "1/2")):
        code, said = warm.run(videos, "-o", OUT, *options)
        assert code == 2
        assert f"in use by process {run.pid} on host {socket.gethostname()}" in said
        assert "--shard K/N" in said
    lay(Path("go"))
    assert run.wait() == 0, run.said


def test_different_shards_run_side_by_side(warm: WarmCommand, videos: Path, tiny: Marlin) -> None:
    options = (videos, "-o", OUT, "--format", "parquet")
    runs: list[Run] = [warm.start(*options, "--shard", f"{k}/2", before=HELD.format(batches=0)) for k in (1, 2)]
    wait_for(lambda: all(run.workers() for run in runs))  # at work at the same time
    lay(Path("go"))
    assert [run.wait() for run in runs] == [0, 0], [run.said for run in runs]
    assert_whole(OUT, videos, tiny)
    assert len(list(OUT.glob("_manifest-?-of-2.jsonl"))) == len(list(OUT.glob("features-?-of-2-00001.parquet"))) == 2
    code, said = warm.run(*options)  # one run over all finds all done
    assert (code, "12 done before" in said) == (0, True)


def test_killed_workers_cost_nothing(warm: WarmCommand, videos: Path, tiny: Marlin) -> None:
    run = warm.start(videos, "-o", OUT, "--workers", "2", "--batch-size", "1", before=HELD.format(batches=8))
    for goal in (0, 2):
        workers = wait_for(lambda goal=goal: run.workers() if len(done()) >= goal else [])  # type: ignore[misc]
        os.kill(workers[0], signal.SIGSEGV)
    lay(Path("go"))
    assert run.wait() == 0, run.said
    assert "12 of 12 videos done: 24 rows, 0 windows skipped, 0 failed" in run.said
    assert_whole(OUT, videos, tiny)


def test_several_devices_share_the_work(warm: WarmCommand, videos: Path, tiny: Marlin) -> None:
    code, said = warm.run(videos, "-o", OUT, "--device", "cpu,cpu")
    assert code == 0, said
    assert_whole(OUT, videos, tiny)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB, which only root may make; else no file may be larger than 4 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    is_mounted = (
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", place], check=False).returncode == 0
    )
    yield place
    if is_mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_full_disk_stops_with_one_error_and_is_resumed(
    warm: WarmCommand, videos: Path, tiny: Marlin, small_disk: Path, format: str
) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))"
    is_tmpfs = os.path.ismount(small_disk)
    options = (videos, "-o", small_disk / "out", "--format", format, "--shard-size", "4", "--keep-seq")
    run = warm.start(*options, before="" if is_tmpfs else limit)
    assert run.wait() == 1, run.said
    (failed,) = [line for line in run.said.splitlines() if line.startswith("failed: ")]
    assert "stopped: the disk is full" in failed if is_tmpfs else "cannot write" in failed
    assert "Traceback" not in run.said
    assert [path for path in small_disk.rglob("*") if ".part." in path.name] == []
    kept = done(small_disk / "out")
    assert len(kept) < 12
    assert bool(kept) or not is_tmpfs
    assert f"{len(kept)} of 12 videos done" in run.said
    if is_tmpfs:
        subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    code, said = warm.run(*options)
    assert code == 0, said
    dump = FeatureDump(small_disk / "out")
    assert len(dump) == 12
    for id in dump:
        assert_alike(dump[id], tiny.extract(videos / f"{id}.mp4", keep_seq=True))


def test_failed_videos_are_retried_unless_that_is_not_wanted(warm: WarmCommand, videos: Path) -> None:
    folder = Path("in")
    shutil.copytree(videos, folder)
    good = folder.joinpath("03.mp4").read_bytes()
    lay(folder / "03.mp4", b"no video at all")
    assert warm.run(folder, "-o", OUT)[0] == 1
    lay(folder / "03.mp4", good)
    code, said = warm.run(folder, "-o", OUT, "--no-retry-failed")
    assert (code, "0 of 0 videos done" in said, "1 failed before" in said) == (1, True, True)
    code, said = warm.run(folder, "-o", OUT)
    assert (code, "1 of 1 videos done: 1 rows" in said, len(FeatureDump(OUT))) == (0, True, 12)


def test_overwrite_after_other_settings_were_refused(warm: WarmCommand, videos: Path, tiny: Marlin) -> None:
    options = (videos, "-o", OUT, "--format", "parquet", "--shard-size", "3")
    assert warm.run(*options)[0] == 0
    assert len(list(OUT.glob("features-*.parquet"))) > 3
    code, said = warm.run(*options, "--stride", "8")
    assert (code, "settings.stride: 16 there, 8 requested" in said) == (2, True)
    code, said = warm.run(videos, "-o", OUT, "--format", "parquet", "--stride", "8", "--overwrite")
    assert code == 0, said
    assert [path.name for path in OUT.glob("features-*.parquet")] == ["features-00001.parquet"]
    dump = FeatureDump(OUT)
    assert_alike(dump["02"], tiny.extract(videos / "02.mp4", stride=8))


def test_table_of_parts_with_labels(warm: WarmCommand, astronaut: Path, tiny: Marlin) -> None:
    shutil.copyfile(astronaut, "talk.mp4")
    rows = [
        ("talk.mp4", "", "", "", "", "joy", "train"),
        ("talk.mp4", "first", "0", "1.5", "", "joy", "train"),
        ("talk.mp4", "", "1.28", "3.5", "0", "anger", "test"),
        ("talk.mp4", "nobody", "1", "3", "7", "none", "test"),
    ]
    with Path("segments.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "id", "start_s", "end_s", "track", "emotion", "split"), *rows])
    code, said = warm.run("--table", "segments.csv", "-o", OUT, "--format", "parquet")
    assert code == 1
    (failed,) = [line for line in said.splitlines() if line.startswith("failed: ")]
    assert re.search(r"talk\.mp4: none of \d windows .* \(NoFaceError\)", failed)
    dump = FeatureDump(OUT)
    part = "talk@1.28-3.50+track0"
    assert sorted(dump) == ["first", "talk", part]
    whole = tiny.extract("talk.mp4")
    assert_alike(dump["talk"], whole)
    assert_alike(dump["first"], tiny.extract("talk.mp4", start_s=0, end_s=1.5))
    assert_alike(dump[part], tiny.extract("talk.mp4", start_s=1.28, end_s=3.5, track=0))
    assert dump[part].start_s[0] == pytest.approx(1.28)
    table = pq.read_table(OUT / "features-00001.parquet").to_pydict()
    split = {
        id: (emotion, part) for id, emotion, part in zip(table["id"], table["emotion"], table["split"], strict=True)
    }
    assert split == {"talk": ("joy", "train"), "first": ("joy", "train"), part: ("anger", "test")}
    assert (read_manifest(OUT)["nobody"].status, read_manifest(OUT)["nobody"].skipped_windows) == ("no_face", 2)
    assert read_manifest(OUT)["first"].labels == {"emotion": "joy", "split": "train"}

    code, said = warm.run("--table", "segments.csv", "talk.mp4", "-o", OUT, "--format", "parquet")
    assert (code, "0 of 0 videos done" in said) == (1, True), said  # the whole video is in the table, too
    assert "3 done before, 1 failed before (1 without a face)" in said
    np.testing.assert_array_equal(FeatureDump(OUT)["talk"].start_s, whole.start_s)


def test_part_in_the_table_does_not_stand_for_the_whole_video(warm: WarmCommand, videos: Path) -> None:
    lay(Path("segments.csv"), f"path,start_s,end_s\n{videos / '02.mp4'},0,1\n".encode())
    assert warm.run("--table", "segments.csv", "-o", OUT)[0] == 0
    assert warm.run(videos / "02.mp4", "-o", OUT)[0] == 0
    dump = FeatureDump(OUT)
    assert {id: len(dump[id]) for id in dump} == {"02@0.00-1.00": 1, "02": 3}
