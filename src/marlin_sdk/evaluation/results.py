"""What an evaluation found: values with their intervals, as JSON or as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any, Literal

from marlin_sdk.evaluation.corrections import Correction
from marlin_sdk.evaluation.intervals import CONFIDENCE, Interval
from marlin_sdk.evaluation.predictions import Task

__all__ = ["Difference", "Evaluation", "Kind", "Level", "Measure", "Row"]

Level = Literal["video", "window"]
Kind = Literal["label", "macro", "micro"]


@dataclass(frozen=True)
class Measure:
    """A metric, averaged over seeds.

    Attributes:
        value: None where it is undefined.
        low: lower end of its interval; None without one.
        high: upper end.
        seed_sd: standard deviation between seeds, which the interval does not cover; None for a single seed.
        undefined: why there is no value, or why some seeds or labels are not in it.
        undefined_draws: draws in which it is undefined, and which the interval leaves out.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    seed_sd: float | None = None
    undefined: str | None = None
    undefined_draws: int = 0


@dataclass(frozen=True)
class Difference:
    """A metric of the first predictions minus that of the second, on the same draws.

    Attributes:
        value: None where either is undefined.
        low: lower end of its interval; None without one.
        high: upper end.
        p: two-sided p-value; None without an interval.
        p_corrected: corrected for the number of comparisons.
        comparisons: how many: those of this metric in rows of this kind.
        correction: `holm` for fewer than ten, `benjamini-hochberg` otherwise.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_corrected: float | None = None
    comparisons: int = 1
    correction: Correction | None = None


@dataclass(frozen=True)
class Row:
    """The metrics of a label in a split, or of all labels there.

    Attributes:
        split: the split.
        ratio: share of the training part that was used.
        label: name of the target; of a `macro` or `micro` row, that word.
        kind: `label`; `macro`, the mean over labels; or `micro`, the rows of all labels pooled.
        rows: number of predictions per seed (the mean over seeds).
        videos: number of videos.
        groups: number of groups.
        seeds: number of seeds.
        measures: by metric.
        other: those of the second predictions.
        differences: first minus second.
        notes: what to know about the numbers.
    """

    split: str
    ratio: float
    label: str
    kind: Kind
    rows: float
    videos: int
    groups: int
    seeds: int
    measures: Mapping[str, Measure]
    other: Mapping[str, Measure] | None = None
    differences: Mapping[str, Difference] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """The metrics of predictions, with intervals by drawing groups.

    Attributes:
        task: `binary`, `classes` or `regression`.
        level: whether a row of the predictions is a video or a window.
        draws: number of draws.
        seed: seed of the draws.
        interval: `percentile` or `bca`.
        metrics: the metrics.
        rows: by split, ratio and label, after the rows of all labels.
        notes: what to know about all rows.
    """

    task: Task
    level: Level
    draws: int
    seed: int
    interval: Interval
    metrics: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON has it: numbers, text, lists, objects and null."""
        found: dict[str, Any] = json.loads(json.dumps({"confidence": CONFIDENCE, **asdict(self)}, allow_nan=False))
        return found

    def table(self, *, labels: bool = False) -> str:
        """As text, to be read.

        Args:
            labels: also the rows of single labels, where there are rows of all labels.
        """
        summed = any(row.kind != "label" for row in self.rows)
        shown = [row for row in self.rows if labels or not summed or row.kind != "label"]
        kind = {"percentile": "percentile", "bca": "BCa"}[self.interval]
        lines: list[str | tuple[str, ...]] = [
            f"{self.level} level; {CONFIDENCE:.0%} {kind} intervals of {self.draws:,} draws of groups, seed {self.seed}"
        ]
        part = None
        for row in shown:
            if (row.split, row.ratio) != part:
                part = (row.split, row.ratio)
                lines += ["", self._title(row), _head(row)]
            lines += [*_cells(row), *(f"  note: {note}" for note in row.notes)]
        if len(shown) < len(self.rows):
            lines += ["", f"{len(self.rows) - len(shown)} rows of single labels are not shown"]
        return _aligned([*lines, *(f"note: {note}" for note in self.notes)])

    def _title(self, row: Row) -> str:
        ratio = f", {row.ratio:.0%} of the training part" if row.ratio != 1 else ""
        seeds = f", {row.seeds} seeds" if row.seeds > 1 else ""
        return f"{row.split}{ratio}: {row.videos:,} videos of {row.groups:,} groups{seeds}"


def _head(row: Row) -> tuple[str, ...]:
    compared = ("other", "difference", "95 % interval", "p", "corrected") if row.other is not None else ()
    return ("", "metric", "value", "95 % interval", "seeds", *compared)


def _cells(row: Row) -> list[tuple[str, ...]]:
    lines = []
    for at, (name, measure) in enumerate(row.measures.items()):
        cells = [row.label if not at else "", name, *_measure(measure)]
        if row.other is not None and row.differences is not None:
            cells += [_number(row.other[name].value), *_difference(row.differences[name])]
        lines.append((*cells, measure.undefined or ""))
    return lines


def _aligned(lines: Sequence[str | tuple[str, ...]]) -> str:
    """Lines of cells as columns, the last of which may be text of any length."""
    cells = [line for line in lines if isinstance(line, tuple)]
    widths = [max(map(len, column)) for column in zip_longest(*cells, fillvalue="")]
    texts = (line if isinstance(line, str) else "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(texts)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"


def _range(low: float | None, high: float | None) -> str:
    return "-" if low is None else f"{_number(low)} to {_number(high)}"


def _measure(measure: Measure) -> tuple[str, str, str]:
    spread = "" if measure.seed_sd is None else f"±{_number(measure.seed_sd)}"
    return _number(measure.value), _range(measure.low, measure.high), spread


def _difference(difference: Difference) -> tuple[str, ...]:
    sign = "+" if (difference.value or 0) > 0 else ""
    p = "-" if difference.p is None else f"{difference.p:.4f}"
    corrected = "-" if difference.p_corrected is None else f"{difference.p_corrected:.4f}"
    return f"{sign}{_number(difference.value)}", _range(difference.low, difference.high), p, corrected
