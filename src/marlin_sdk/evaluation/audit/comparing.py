"""Measures by cell, with intervals by drawing subjects, and gaps with what could have been detected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.evaluation.audit.cells import Cell
from marlin_sdk.evaluation.corrections import Correction, correct, p_value
from marlin_sdk.evaluation.intervals import draw_groups, interval_of
from marlin_sdk.evaluation.metrics import Scorer

__all__ = [
    "DETECTABLE",
    "FEW_SUBJECTS",
    "Better",
    "Estimate",
    "Gap",
    "GroupRow",
    "GroupTable",
    "compare",
    "mean_scorer",
]

FEW_SUBJECTS = 30
"""A cell of fewer is not measured: its interval could not be trusted, and its subjects would be told apart."""

DETECTABLE = 2.8
"""Standard errors of a gap that is found four times in five at a level of 5 %: 1.96 + 0.84."""

Better = Literal["higher", "lower", "neither"]


@dataclass(frozen=True)
class Gap:
    """A cell's value minus another, on the same draws of subjects.

    Attributes:
        value: the difference.
        low: lower end of its interval of 95 %.
        high: upper end.
        p: two-sided p-value.
        p_corrected: corrected for all gaps of the table.
        detectable: the smallest gap that these data would show four times in five, 2.8 times the standard error; None
            where nothing varies, so that no error is known.
    """

    value: float
    low: float
    high: float
    p: float
    detectable: float | None
    p_corrected: float | None = None


@dataclass(frozen=True)
class Estimate:
    """A measure of a cell.

    Attributes:
        value: None where it is undefined, or where there are too few subjects.
        low: lower end of its interval of 95 %; None without one.
        high: upper end.
        is_best: whether it is the best of several cells of its column.
        to_best: gap to that; None for the best itself, and where there is none.
        to_overall: gap to all videos.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    is_best: bool = False
    to_best: Gap | None = None
    to_overall: Gap | None = None


@dataclass(frozen=True)
class GroupRow:
    """The measures of a cell; of all videos, whose `column` and `value` are empty.

    Attributes:
        column: a column, or several.
        value: their value.
        videos: number of videos, or of predictions.
        subjects: number of subjects.
        too_few: whether those are fewer than 30.
        estimates: by measure.
    """

    column: str
    value: str
    videos: int
    subjects: int
    too_few: bool
    estimates: dict[str, Estimate]


@dataclass(frozen=True)
class GroupTable:
    """Measures by cell; the first row is all videos.

    Attributes:
        title: what is measured.
        metrics: by name, which direction is better.
        rows: see `GroupRow`.
        draws: number of draws of subjects.
        comparisons: number of gaps corrected together: those to the best; to all, of measures that have no better.
        correction: `holm` for fewer than ten, else `benjamini-hochberg`.
        notes: what to know about the numbers.
    """

    title: str
    metrics: dict[str, Better]
    rows: tuple[GroupRow, ...]
    draws: int
    comparisons: int = 0
    correction: Correction | None = None
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True, eq=False)
class _Sampled:
    cell: Cell
    subjects: int
    values: Mapping[str, float]
    draws: Mapping[str, NDArray[Any]]

    @property
    def is_measured(self) -> bool:
        return self.subjects >= FEW_SUBJECTS


def compare(
    title: str,
    cells: Sequence[Cell],
    subjects: NDArray[Any],
    score: Callable[[NDArray[np.int64], NDArray[np.int64], int], Scorer],
    metrics: Mapping[str, Better],
    *,
    draws: int = 2000,
    seed: int = 0,
    notes: Sequence[str] = (),
) -> GroupTable:
    """Measure each cell, and compare it with the best of its column and with all.

    The best is chosen on the same data, so that a gap to it is rather too large; the gap to all videos is not.

    Args:
        title: what is measured.
        cells: of the rows.
        subjects: (N,), the subject of each row.
        score: makes a `Scorer` of some rows from their indices, the number of the subject of every row, and the number
            of subjects.
        metrics: by name, which direction is better.
        draws: number of draws of subjects.
        seed: of the draws.
        notes: of the table.
    """
    names, groups = np.unique(subjects, return_inverse=True)
    blocks = list(draw_groups(len(names), draws, seed, np.float64))
    everything = Cell("", "", np.ones(len(groups), np.bool_))

    def sample(cell: Cell) -> _Sampled:
        rows = np.flatnonzero(cell.rows)
        scorer, count = score(rows, groups, len(names)), len(np.unique(groups[rows]))
        one = scorer(np.ones((len(names), 1)))
        values = {name: float(one[name][0]) for name in metrics}
        drawn = [scorer(block) for block in blocks] if count >= FEW_SUBJECTS or cell is everything else [one]
        return _Sampled(cell, count, values, {name: np.concatenate([part[name] for part in drawn]) for name in metrics})

    sampled = [sample(cell) for cell in (everything, *cells)]
    rows_of = [
        GroupRow(
            part.cell.column,
            part.cell.value,
            int(part.cell.rows.sum()),
            part.subjects,
            not part.is_measured,
            {name: _estimate(name, part, sampled, better) for name, better in metrics.items()},
        )
        for part in sampled
    ]
    shown = "to_overall" if set(metrics.values()) == {"neither"} else "to_best"
    corrected, count, correction = _corrected(rows_of, shown)
    if sampled[0].subjects < FEW_SUBJECTS:
        notes = [*notes, f"{sampled[0].subjects} subjects in all are few: intervals are mostly too narrow"]
    return GroupTable(title, dict(metrics), tuple(corrected), draws, count, correction, tuple(notes))


def _estimate(name: str, part: _Sampled, sampled: Sequence[_Sampled], better: Better) -> Estimate:
    value, overall = part.values[name], sampled[0]
    if np.isnan(value) or not (part.is_measured or part is overall):
        return Estimate()
    low, high = interval_of(value, part.draws[name]) if part.subjects > 1 else (None, None)
    if part is overall:
        return Estimate(value, low, high)
    same = [one for one in sampled[1:] if one.cell.column == part.cell.column]
    peers = [one for one in same if one.is_measured and not np.isnan(one.values[name])]
    best = None
    if better != "neither" and len(peers) > 1:
        best = (max if better == "higher" else min)(peers, key=lambda one: one.values[name])
    to_best = None if best is None or best is part else _gap(name, part, best)
    return Estimate(value, low, high, best is part, to_best, _gap(name, part, overall))


def _gap(name: str, part: _Sampled, other: _Sampled) -> Gap | None:
    value = part.values[name] - other.values[name]
    draws = part.draws[name] - other.draws[name]
    if np.isnan(value) or np.isnan(draws).all():
        return None
    error = float(np.nanstd(draws))
    return Gap(value, *interval_of(value, draws), p_value(draws), DETECTABLE * error if error > 1e-9 else None)


def _corrected(rows: Sequence[GroupRow], shown: str) -> tuple[list[GroupRow], int, Correction | None]:
    """With p-values corrected over all measures and cells: gaps to the best, and those to all, apart."""
    estimates = [dict(row.estimates) for row in rows]
    told: tuple[int, Correction | None] = (0, None)
    for kind in ("to_overall", "to_best"):
        places = [(at, name) for at, own in enumerate(estimates) for name in own if getattr(own[name], kind)]
        if not places:
            continue
        gaps = [getattr(estimates[at][name], kind) for at, name in places]
        adjusted, correction = correct([gap.p for gap in gaps])
        for (at, name), gap, p in zip(places, gaps, adjusted.tolist(), strict=True):
            estimates[at][name] = replace(estimates[at][name], **{kind: replace(gap, p_corrected=p)})
        if kind == shown:
            told = (len(places), correction)
    return [replace(row, estimates=own) for row, own in zip(rows, estimates, strict=True)], *told


def mean_scorer(
    values: NDArray[np.float64], names: Sequence[str], rows: NDArray[np.int64], groups: NDArray[np.int64], count: int
) -> Scorer:
    """Means of columns over rows, of what is not NaN, as a function of the weights of the groups.

    Args:
        values: (N, M), NaN where it is not defined.
        names: of the M columns.
        rows: indices of the rows to take.
        groups: (N,), number of the group of each row.
        count: number of groups.
    """
    chosen, of = values[rows], groups[rows]
    known = ~np.isnan(chosen)
    sums, counts = np.zeros((2, count, len(names)))
    np.add.at(sums, of, np.where(known, chosen, 0))
    np.add.at(counts, of, known)

    def score(weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        with np.errstate(invalid="ignore", divide="ignore"):
            means = (sums.T @ weights) / (counts.T @ weights)
        return dict(zip(names, means, strict=True))

    return score
