"""A run: what it counts, what it says, and what signals do to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tests.unit.dump.example_dumps import random_features

from marlin_sdk import ConfigError, FeatureFileError
from marlin_sdk.batch.progress import PlainProgress
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.run import RunSummary, default_workers, make_dump
from marlin_sdk.batch.workers import Failure
from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.manifest import read_manifest
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.inputs.videos import VideoInput

IDENTITY: dict[str, Any] = {"weights": {"untrained": True, "seed": 0}, "settings": {}}
FAILURES = {
    "bad": Failure("VideoDecodeError", "is empty"),
    "odd": Failure("ZeroDivisionError", "division by zero", "Traceback of odd", is_known=False),
    "faceless": Failure("NoFaceError", "no face"),
    "lacking": Failure("DownloadError", "downloads are off", is_detector_error=True),
}


@dataclass
class Ready:
    """An engine whose results are there: by the beginning of an id, a failure, or else four rows."""

    after: Callable[[VideoInput], object] = lambda _: None
    began: list[str] = field(default_factory=list)
    ended: bool = False

    def run(
        self,
        videos: Iterable[VideoInput],
        *,
        drain: threading.Event | None = None,
        on_rows: Callable[[int], object] = lambda _: None,
    ) -> Generator[VideoResult, None, None]:
        try:
            for video in videos:
                if drain is not None and drain.is_set():
                    return
                self.began.append(video.id)
                failure = FAILURES.get(video.id.rstrip("0123456789"))
                features = None if failure else random_features(4)
                on_rows(0 if failure else 4)
                yield VideoResult(video, features, failure, 0.1)
                self.after(video)
        finally:
            self.ended = True


def inputs(*ids: str) -> list[VideoInput]:
    return [VideoInput(id, f"in/{id}.mp4") for id in ids]


def make(
    plan: DumpPlan, *ids: str, engine: Ready | None = None, drain: threading.Event | None = None
) -> tuple[RunSummary, str]:
    """What came of it, and what was said."""
    said = StringIO()
    summary = make_dump(
        inputs(*ids), engine or Ready(), plan, IDENTITY, progress=PlainProgress(said, debug=True), drain=drain
    )
    return summary, said.getvalue()


def test_summary_counts_what_is_kept(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path, "parquet")
    summary, said = make(plan, "a", "bad", "b", "faceless")
    assert (dict(summary.counts), summary.rows) == ({"partial": 2, "failed": 1, "no_face": 1}, 8)
    assert (summary.failed, summary.left, summary.done_before, summary.skipped_windows) == (2, 0, 0, 4)
    last = said.splitlines()[-1]
    assert last.startswith("2 of 4 videos done: 8 rows, 4 windows skipped, 2 failed (1 without a face), ")
    summary, said = make(plan, "a", "bad", "b", "faceless", "c")
    assert (summary.done_before, summary.counts["partial"]) == (2, 1)
    assert (summary.failed, summary.failed_before) == (2, {"no_face": 1})  # as the first run counted them
    assert said.splitlines()[-1].startswith(
        "1 of 2 videos done: 4 rows, 2 windows skipped, 1 failed, 2 done before, 1 failed before (1 without a face), "
    )


def test_each_failure_is_named_with_its_reason(tmp_path: Path) -> None:
    _, said = make(DumpPlan(tmp_path), "bad", "odd", "fine")
    assert "failed: in/bad.mp4: is empty (VideoDecodeError)\n" in said
    assert "failed: in/odd.mp4: unexpected ZeroDivisionError: division by zero" in said
    assert "Traceback of odd" in said
    assert f"in/fine.mp4 -> {tmp_path}/fine.npz  (4, 8), 2 windows skipped\n" in said
    _, said = make(DumpPlan(tmp_path / "p", "parquet"), "fine")
    assert f"in/fine.mp4 -> {tmp_path}/p: fine  (4, 8), 2 windows skipped\n" in said


def test_lack_of_a_detector_is_said_once_more_where_nothing_could_be_done(tmp_path: Path) -> None:
    _, said = make(DumpPlan(tmp_path / "some"), "lacking1", "lacking2", "fine")
    assert said.count("downloads are off (DownloadError)") == 2
    assert "no video could be embedded" not in said
    _, said = make(DumpPlan(tmp_path / "all"), "lacking1", "lacking2")
    assert said.count("no video could be embedded, because the detector is unavailable: downloads are off") == 1


def test_urls_are_told_of_without_what_is_secret_in_them(tmp_path: Path) -> None:
    said = StringIO()
    videos = [VideoInput("bad", "https://me:word@host/talk.mp4?key=secret")]
    make_dump(videos, Ready(), DumpPlan(tmp_path), IDENTITY, progress=PlainProgress(said))
    told = said.getvalue() + (tmp_path / "manifest.jsonl").read_text()
    assert told.count("https://host/talk.mp4?...") == 2
    assert "word" not in told
    assert "secret" not in told


def test_shards_share_the_videos_out(tmp_path: Path) -> None:
    ids = [f"{index:02d}" for index in range(30)]
    parts = [make(DumpPlan(tmp_path, "parquet", Shard(index, 3)), *ids)[0] for index in (1, 2, 3)]
    assert [sum(part.counts.values()) for part in parts] == [len(part) for part in _parts(ids)]
    assert sorted(FeatureDump(tmp_path)) == ids
    assert len(list(tmp_path.glob("_manifest-?-of-3.jsonl"))) == 3


def _parts(ids: list[str]) -> list[list[str]]:
    return [[id for id in ids if Shard(index, 3).takes(id)] for index in (1, 2, 3)]


def test_drain_leaves_the_rest_for_later(tmp_path: Path) -> None:
    drain = threading.Event()
    engine = Ready(after=lambda video: drain.set() if video.id == "b" else None)
    summary, said = make(DumpPlan(tmp_path, "parquet"), "a", "b", "c", "d", engine=engine, drain=drain)
    assert (engine.began, summary.left) == (["a", "b"], 2)
    assert "2 of 4 videos done: 8 rows" in said
    assert "2 not done" in said
    assert sorted(FeatureDump(tmp_path)) == ["a", "b"]


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ConfigError("no such thing"), MemoryError()])
def test_stop_ends_the_engine_and_keeps_what_is_whole(tmp_path: Path, error: BaseException) -> None:
    engine = Ready(after=lambda video: _raise(error) if video.id == "b" else None)
    plan = DumpPlan(tmp_path, "parquet")
    with pytest.raises(type(error)):
        make(plan, "a", "b", "c", engine=engine)
    assert engine.ended
    assert sorted(FeatureDump(tmp_path)) == ["a", "b"]
    assert make(plan, "a", "b", "c")[0].done_before == 2


def test_full_disk_is_not_laid_at_a_videos_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, plan, engine = StringIO(), DumpPlan(tmp_path, "parquet", shard_rows=8), Ready()
    sync = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().suffix == ".parquet" and len(engine.began) > 3:
            raise OSError(28, os.strerror(28))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(FeatureFileError, match="the disk is full"):
            make_dump(inputs("a", "b", "c", "d", "e"), engine, plan, IDENTITY, progress=PlainProgress(said))
    assert engine.ended
    assert engine.began == ["a", "b", "c", "d"]
    assert "2 of 5 videos done: 8 rows, 4 windows skipped, 0 failed, 3 not done" in said.getvalue()
    assert {entry.status for entry in read_manifest(tmp_path).values()} == {"partial"}
    assert make(plan, "a", "b", "c", "d", "e")[0].done_before == 2


def test_default_workers_fit_the_machine() -> None:
    cores = len(os.sched_getaffinity(0))
    assert default_workers(1000, on_gpu=False) == max(1, cores // 2)
    assert default_workers(1000, on_gpu=True) == max(1, cores - 1)
    assert default_workers(1, on_gpu=True) == default_workers(0, on_gpu=True) == 1


@pytest.mark.parametrize("format", ["npz", "parquet", "webdataset"])
def test_labels_that_changed_since_are_recorded(tmp_path: Path, format: str) -> None:
    def labelled(mood: str) -> list[VideoInput]:
        return [VideoInput("a", "in/a.mp4", labels={"mood": mood}), VideoInput("b", "in/b.mp4")]

    plan, said = DumpPlan(tmp_path, format), StringIO()
    make_dump(labelled("sad"), Ready(), plan, IDENTITY)
    summary = make_dump(labelled("glad"), Ready(), plan, IDENTITY, progress=PlainProgress(said))
    assert summary.counts == {}
    dump = FeatureDump(tmp_path)
    assert (dump.labels("a"), dump.labels("b")) == ({"mood": "glad"}, {})
    assert len(dump["a"]) == 4
    assert "warning: the labels of 1 finished videos changed: recorded anew" in said.getvalue()
    assert ("recorded anew, in 1 rewritten shards" in said.getvalue()) == (format != "npz")
    said = StringIO()
    emptier = [VideoInput("a", "in/a.mp4", labels={"mood": "glad", "note": ""}), *labelled("glad")[1:]]
    make_dump(emptier, Ready(), plan, IDENTITY, progress=PlainProgress(said))
    assert "labels" not in said.getvalue()
