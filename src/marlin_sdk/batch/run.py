"""A run: what is still to do, through an engine, into a dump."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, Protocol

from marlin_sdk.batch.inputs import VideoInput, deduplicate
from marlin_sdk.batch.progress import Progress, QuietProgress
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.store import Dump, open_dump
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.plan import DumpPlan

__all__ = ["Engine", "RunSummary", "default_workers", "make_dump", "stop_on_signals"]

_STOPS = (signal.SIGINT, signal.SIGTERM)
_TELL_EACH = 20  # in a run of more videos, only failures have a line of their own


class Engine(Protocol):
    """Turns videos into results."""

    def run(
        self,
        videos: Iterable[VideoInput],
        *,
        drain: threading.Event | None = None,
        on_rows: Callable[[int], object] = lambda _: None,
    ) -> Generator[VideoResult, None, None]:
        """Embed videos; see `LocalEngine.run`. Closing the generator stops at once."""


@dataclass(frozen=True)
class RunSummary:
    """What a run did.

    Attributes:
        counts: of videos, by status.
        rows: windows embedded.
        skipped_windows: windows left out because they show no face.
        left: videos that were not begun, or whose rows are not kept, because the run was stopped.
        done_before: videos that earlier runs had done.
        seconds: that it took.
    """

    counts: Mapping[str, int]
    rows: int
    skipped_windows: int
    left: int
    done_before: int
    seconds: float

    @property
    def failed(self) -> int:
        """Videos without features: failed, or without a face."""
        return self.counts.get("failed", 0) + self.counts.get("no_face", 0)

    def __str__(self) -> str:
        done = sum(self.counts.values()) - self.failed
        faceless = self.counts.get("no_face", 0)
        parts = [
            f"{done} of {sum(self.counts.values()) + self.left} videos done: {self.rows} rows",
            f"{self.skipped_windows} windows skipped",
            f"{self.failed} failed" + f" ({faceless} without a face)" * bool(faceless),
            f"{self.left} not done" * bool(self.left),
            f"{self.done_before} done before" * bool(self.done_before),
            f"{self.seconds:.1f} s",
        ]
        return ", ".join(part for part in parts if part)


def make_dump(
    videos: Sequence[VideoInput],
    engine: Engine,
    plan: DumpPlan,
    identity: Mapping[str, Any],
    *,
    progress: Progress | None = None,
    drain: threading.Event | None = None,
) -> RunSummary:
    """Embed what a dump does not hold yet.

    Args:
        videos: all that the dump is to hold; duplicates are folded.
        engine: what does it.
        plan: how the dump is kept.
        identity: what it is made with (`Recipe.identity`).
        progress: is told of each video; nothing is said by default.
        drain: once set, no new video is begun, those in flight are finished, and the dump is closed.
    Returns:
        What this run did.
    Raises:
        ConfigError: another run holds the folder, or it was made with other settings.
        FeatureFileError: the disk is full or cannot be written. What was kept stays; a rerun goes on from there.
        MarlinError: what would fail for every video.
        KeyboardInterrupt: stopped at once; a rerun goes on.
    """
    progress = progress or QuietProgress()
    drain = drain or threading.Event()
    started_s = time.monotonic()
    mine = [video for video in deduplicate(videos) if plan.shard.takes(video.id)]
    dump: Dump | None = None
    todo: list[VideoInput] = []
    try:
        with open_dump(plan, identity) as dump:
            todo = dump.todo(mine)
            progress.start(len(todo), len(mine) - len(todo))
            lacking = _do(todo, engine, dump, progress, drain)
            if todo and len(lacking) == len(todo):
                progress.failure(f"failed: no video could be embedded, for want of the detector: {lacking[0]}", "")
    finally:
        if dump is not None:  # counted now that what was open is sealed, or thrown away
            progress.close()
            summary = _summary(dump.kept, len(todo), len(mine) - len(todo), started_s)
            progress.note(str(summary))
    return summary


def _do(todo: list[VideoInput], engine: Engine, dump: Dump, progress: Progress, drain: threading.Event) -> list[str]:
    """Embed and keep videos; why the detector cannot be had, once for each video that failed for want of it."""
    lacking = []
    with closing(engine.run(todo, drain=drain, on_rows=progress.windows)) as results:
        for result in results:
            entry = dump.store(result)
            progress.video(entry)
            where = dump.plan.where(entry.id) if len(todo) <= _TELL_EACH else None
            _tell(progress, entry, result, where)
            if result.failure is not None and result.failure.is_detector_error:
                lacking.append(result.failure.message)
    return lacking


def _tell(progress: Progress, entry: ManifestEntry, result: VideoResult, where: str | None) -> None:
    source, failure = entry.source, result.failure
    if entry.error is not None:
        said = f"{entry.message} ({entry.error})"
        if failure is not None and not failure.is_known:
            said = f"unexpected {failure.error}: {failure.message}; --debug shows where"
        progress.failure(f"failed: {source}: {said}", failure.trace if failure else "")
        return
    for warning in result.features.warnings if result.features else ():
        progress.note(f"warning: {source}: {warning}")
    if where is not None and result.features is not None:
        shape = tuple(result.features.features.shape)
        progress.note(f"{source} -> {where}  {shape}, {entry.skipped_windows} windows skipped")


def _summary(kept: Sequence[ManifestEntry], todo: int, done_before: int, started_s: float) -> RunSummary:
    return RunSummary(
        counts=Counter(entry.status for entry in kept),
        rows=sum(entry.rows for entry in kept),
        skipped_windows=sum(entry.skipped_windows for entry in kept),
        left=todo - len(kept),
        done_before=done_before,
        seconds=time.monotonic() - started_s,
    )


def default_workers(num_videos: int, *, on_gpu: bool) -> int:
    """Processes that decode: where the CPU embeds too, half of its cores; else all but one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(num_videos, cores - 1 if on_gpu else cores // 2))


@contextmanager
def stop_on_signals(say: Callable[[str], object]) -> Iterator[threading.Event]:
    """Ctrl-C, or SIGTERM from a scheduler: the first lets what is in flight finish, the second stops at once.

    Args:
        say: is told what happens now.
    Yields:
        An event that the first signal sets.
    """
    drain = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        if drain.is_set():
            raise KeyboardInterrupt
        drain.set()
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        with suppress(RuntimeError):  # it came in the middle of a write to the same stream
            say(f"{name}: finishing the videos in flight; once more stops at once. A rerun goes on from here.")

    heard = [number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores Ctrl-C
    before = {number: signal.signal(number, on_signal) for number in heard}
    try:
        yield drain
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
