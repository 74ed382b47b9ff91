"""A run: embed the videos that a dump still lacks, with an engine."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Protocol

from marlin_sdk.batch.progress import Progress, QuietProgress
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.store import Dump, open_dump
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.inputs.videos import VideoInput, select

__all__ = ["Engine", "RunSummary", "default_workers", "make_dump"]

_MAX_REPORTED = 20  # in a run of more videos, only failures are reported one by one


class Engine(Protocol):
    """Turns videos into results."""

    def run(
        self,
        videos: Iterable[VideoInput],
        *,
        drain: threading.Event | None = None,
        on_rows: Callable[[int], object] = lambda _: None,
    ) -> Generator[VideoResult, None, None]:
        """Embed videos; see `LocalEngine.run`. Closing the generator stops immediately."""


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        counts: number of videos by status.
        rows: windows embedded.
        skipped_windows: windows left out because they show no face.
        left: videos that were not started, or whose rows were not written, because the run was stopped.
        done_before: videos with features that earlier runs finished.
        failed_before: number of the other videos that this run did not try again, by status.
        seconds: duration of the run.
    """

    counts: Mapping[str, int]
    rows: int
    skipped_windows: int
    left: int
    done_before: int
    failed_before: Mapping[str, int]
    seconds: float

    @property
    def failed(self) -> int:
        """Videos without features after this run: failed, or without a face, in this run or an earlier one."""
        return _without_features(self.counts) + _without_features(self.failed_before)

    def __str__(self) -> str:
        failed = _without_features(self.counts)
        parts = [
            f"{sum(self.counts.values()) - failed} of {sum(self.counts.values()) + self.left} videos done: "
            f"{self.rows} rows",
            f"{self.skipped_windows} windows skipped",
            f"{failed} failed{_faceless(self.counts)}",
            f"{self.left} not done" * bool(self.left),
            f"{self.done_before} done before" * bool(self.done_before),
            f"{_without_features(self.failed_before)} failed before{_faceless(self.failed_before)}"
            * bool(_without_features(self.failed_before)),
            f"{self.seconds:.1f} s",
        ]
        return ", ".join(part for part in parts if part)


def _without_features(counts: Mapping[str, int]) -> int:
    return counts.get("failed", 0) + counts.get("no_face", 0)


def _faceless(counts: Mapping[str, int]) -> str:
    return f" ({counts['no_face']} without a face)" if counts.get("no_face") else ""


def make_dump(
    videos: Sequence[VideoInput],
    engine: Engine,
    plan: DumpPlan,
    identity: Mapping[str, Any],
    *,
    progress: Progress | None = None,
    drain: threading.Event | None = None,
) -> RunSummary:
    """Embed the videos that a dump does not contain yet.

    Args:
        videos: all videos of the dump, with unique ids: see `find_videos` and `deduplicate`.
        engine: the engine that embeds them.
        plan: layout of the dump.
        identity: settings of the dump (`Recipe.identity`).
        progress: receives the events of the run; by default only failures are printed.
        drain: once set, no new video is started, those in flight are finished, and the dump is closed.
    Returns:
        What this run did.
    Raises:
        ConfigError: another run holds the lock, or the dump was made with other settings.
        FeatureFileError: the disk is full or cannot be written. Finished videos are kept, and a rerun resumes.
        MarlinError: an error that affects every video.
        KeyboardInterrupt: stopped immediately; a rerun resumes.
    """
    progress = progress or QuietProgress()
    drain = drain or threading.Event()
    started_s = time.monotonic()
    selected = select(videos, lambda video: plan.shard.takes(video.id))
    dump: Dump | None = None
    todo: Sequence[VideoInput] = ()
    before: Counter[str] = Counter()
    try:
        with open_dump(plan, identity) as dump:
            todo = select(selected, dump.lacks)
            finished = select(selected, lambda video: not dump.lacks(video))
            before = Counter(dump.entries[video.id].status for video in finished)
            progress.start(len(todo), len(finished))
            changed, rewritten = dump.relabel(videos)
            if changed or rewritten:
                files = f", in {rewritten} rewritten shards" if rewritten else ""
                progress.note(f"warning: the labels of {changed} finished videos changed: recorded anew{files}")
            detector_errors = _embed(todo, engine, dump, progress, drain)
            if todo and len(detector_errors) == len(todo):
                progress.failure(
                    f"failed: no video could be embedded, because the detector is unavailable: {detector_errors[0]}", ""
                )
    finally:
        if dump is not None:  # counted after open files were sealed or discarded
            progress.close()
            summary = _summary(dump.written, len(todo), before, started_s)
            progress.note(str(summary))
    return summary


def _embed(
    todo: Sequence[VideoInput], engine: Engine, dump: Dump, progress: Progress, drain: threading.Event
) -> list[str]:
    """Embed and write videos; return the error of the detector for each video that failed because of it."""
    detector_errors = []
    with closing(engine.run(todo, drain=drain, on_rows=progress.windows)) as results:
        for result in results:
            entry = dump.store(result)
            progress.video(entry)
            where = dump.plan.where(entry.id) if len(todo) <= _MAX_REPORTED else None
            _report(progress, entry, result, where)
            if result.failure is not None and result.failure.is_detector_error:
                detector_errors.append(result.failure.message)
    return detector_errors


def _report(progress: Progress, entry: ManifestEntry, result: VideoResult, where: str | None) -> None:
    source, failure = entry.source, result.failure
    if entry.error is not None:
        reason = f"{entry.message} ({entry.error})"
        if failure is not None and not failure.is_known:
            reason = f"unexpected {failure.error}: {failure.message}; --debug shows the traceback"
        progress.failure(f"failed: {source}: {reason}", failure.trace if failure else "")
        return
    for warning in result.features.warnings if result.features else ():
        progress.note(f"warning: {source}: {warning}")
    if where is not None and result.features is not None:
        shape = tuple(result.features.features.shape)
        progress.note(f"{source} -> {where}  {shape}, {entry.skipped_windows} windows skipped")


def _summary(written: Sequence[ManifestEntry], todo: int, before: Counter[str], started_s: float) -> RunSummary:
    return RunSummary(
        counts=Counter(entry.status for entry in written),
        rows=sum(entry.rows for entry in written),
        skipped_windows=sum(entry.skipped_windows for entry in written),
        left=todo - len(written),
        done_before=before.total() - _without_features(before),
        failed_before={status: before[status] for status in ("failed", "no_face") if before[status]},
        seconds=time.monotonic() - started_s,
    )


def default_workers(num_videos: int, *, on_gpu: bool) -> int:
    """Number of worker processes: half of the cores if the CPU embeds too, else all but one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(num_videos, cores - 1 if on_gpu else cores // 2))
