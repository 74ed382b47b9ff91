"""Summary of a manifest: totals, reasons of failures, and throughput."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.manifest import ManifestEntry, Status

__all__ = ["Reason", "Throughput", "Totals", "count_totals", "group_failures", "measure_throughput", "printable"]

_PAUSE_S = 60.0  # a longer time without any work is a pause between two runs
_NUM_BINS = 60
_MAX_MESSAGE = 400
_MAX_REASONS = 40
_MAX_NAMED = 20


@dataclass(frozen=True)
class Totals:
    """The totals of a manifest.

    Attributes:
        counts: number of videos by status, in the order of `Status`, without zeros.
        windows: number of windows embedded.
        skipped_windows: number of windows skipped because they show no face.
        duration_s: total duration of the videos whose duration is known.
        num_unknown: number of videos whose duration is unknown.
        seconds: time spent on all of them, summed over processes.
    """

    counts: dict[str, int]
    windows: int
    skipped_windows: int
    duration_s: float
    num_unknown: int
    seconds: float

    @property
    def videos(self) -> int:
        """Number of all videos."""
        return sum(self.counts.values())


@dataclass(frozen=True)
class Reason:
    """Videos that failed in the same way.

    Attributes:
        error: class of the error.
        message: message of the first of them, at most 400 characters.
        count: number of videos.
        ids: ids of the first twenty.
    """

    error: str
    message: str
    count: int
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Throughput:
    """Throughput over the working time.

    Attributes:
        edges_s: float64 (bins + 1,), working time from the start of the first video, without pauses.
        videos_per_min: float64 (bins,).
        windows_per_s: float64 (bins,).
        pauses_s: working times at which a pause between two runs was removed.
    """

    edges_s: NDArray[np.float64]
    videos_per_min: NDArray[np.float64]
    windows_per_s: NDArray[np.float64]
    pauses_s: tuple[float, ...]


def count_totals(entries: Iterable[ManifestEntry]) -> Totals:
    """Add up a manifest."""
    counts: Counter[str] = Counter()
    windows = skipped = unknown = 0
    duration_s = seconds = 0.0
    for entry in entries:
        counts[entry.status] += 1
        windows += entry.rows
        skipped += entry.skipped_windows
        seconds += entry.seconds
        unknown += entry.duration_s is None
        duration_s += entry.duration_s or 0.0
    known = [*get_args(Status), *sorted(counts.keys() - set(get_args(Status)))]
    ordered = {status: counts[status] for status in known if counts[status]}
    return Totals(ordered, windows, skipped, duration_s, unknown, seconds)


def group_failures(entries: Iterable[ManifestEntry]) -> list[Reason]:
    """Group videos that failed, or show no face, by error and message, most frequent first.

    Messages that differ only in the name of the video or in numbers count as one.

    Returns:
        At most forty reasons; if there are more, the last one combines the rest.
    """
    groups: dict[tuple[str, str], list[ManifestEntry]] = {}
    for entry in entries:
        if entry.status in ("failed", "no_face"):
            unnamed = "NoFaceError" if entry.status == "no_face" else "unknown error"
            groups.setdefault((entry.error or unnamed, _pattern(entry)), []).append(entry)
    ranked = sorted(groups.items(), key=lambda item: -len(item[1]))
    reasons = [_reason(error, failed) for (error, _), failed in ranked[:_MAX_REASONS]]
    if len(ranked) > _MAX_REASONS:
        rest = [entry for _, failed in ranked[_MAX_REASONS - 1 :] for entry in failed]
        message = f"{len(ranked) - _MAX_REASONS + 1} more kinds of failure, each rarer than those above"
        reasons[-1] = Reason("other", message, len(rest), tuple(entry.id for entry in rest[:_MAX_NAMED]))
    return reasons


def _reason(error: str, failed: Sequence[ManifestEntry]) -> Reason:
    message = failed[0].message or "no message"
    shown = message if len(message) <= _MAX_MESSAGE else f"{message[:_MAX_MESSAGE]}..."
    return Reason(error, shown, len(failed), tuple(entry.id for entry in failed[:_MAX_NAMED]))


def _pattern(entry: ManifestEntry) -> str:
    message = entry.message or ""
    for name in (entry.source, entry.id):
        message = message.replace(name, "*") if name else message
    return re.sub(r"\d+(\.\d+)?", "#", message)[:_MAX_MESSAGE]


def measure_throughput(entries: Iterable[ManifestEntry]) -> Throughput | None:
    """Count what was finished in each part of the working time.

    A video was being processed from `finished_at - seconds` to `finished_at`. A time of more than a minute without any
    is a pause between two runs, and is removed.

    Returns:
        None if fewer than two videos have a finish time.
    """
    times = [(entry.finished_at, entry.seconds, entry.rows) for entry in entries if entry.finished_at > 0]
    table = np.array(times, dtype=np.float64).reshape(-1, 3)
    table = table[np.isfinite(table).all(axis=1)]
    if len(table) < 2:
        return None
    finished, seconds, rows = table.T
    started = finished - np.maximum(seconds, 0)
    order = np.argsort(started)
    started, finished, rows = started[order], finished[order], rows[order]
    busy_until = np.concatenate([started[:1], np.maximum.accumulate(finished)[:-1]])
    idle = np.where(started - busy_until > _PAUSE_S, started - busy_until, 0.0)
    done_s = finished - np.cumsum(idle) - started[0]
    pauses_s = (busy_until - np.cumsum(idle) + idle - started[0])[idle > 0]
    width_s = float(done_s.max()) / _NUM_BINS
    if width_s <= 0:
        return None
    edges = np.linspace(0.0, float(done_s.max()), _NUM_BINS + 1)
    videos, _ = np.histogram(done_s, edges)
    windows, _ = np.histogram(done_s, edges, weights=rows)
    return Throughput(edges, videos / width_s * 60, windows / width_s, tuple(pauses_s.tolist()))


def printable(text: str) -> str:
    """Replace invisible characters, those that change the writing direction, and invalid ones."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
