"""`evaluate`: from predictions to metrics with intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, PredictionsError
from marlin_sdk.evaluation.columns import row_keys, some
from marlin_sdk.evaluation.intervals import Interval, check_interval
from marlin_sdk.evaluation.levels import has_windows, to_videos
from marlin_sdk.evaluation.measuring import corrected, differences_of, measures_of
from marlin_sdk.evaluation.metrics import find_metrics
from marlin_sdk.evaluation.pairs import matched
from marlin_sdk.evaluation.predictions import Predictions
from marlin_sdk.evaluation.results import Evaluation, Kind, Level, Measure, Row
from marlin_sdk.evaluation.sampling import Cell, Resampler, Sample, cells_of, macro, pooled

__all__ = ["evaluate"]

_FEW_GROUPS = 30
_OFTEN = 0.01


@dataclass(frozen=True, eq=False)
class _Target:
    """What a row of the result is about: a cell of each of the predictions, and the seeds of each."""

    kind: Kind
    cells: tuple[Cell, ...]
    seeds: tuple[tuple[int, ...], ...]


def evaluate(
    predictions: Predictions,
    other: Predictions | None = None,
    *,
    draws: int = 2000,
    seed: int = 0,
    interval: Interval = "percentile",
    level: Level = "video",
    metrics: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Compute the metrics of predictions, with intervals of 95 % by drawing groups with replacement.

    Folds are pooled. Seeds are averaged: the interval is that of their mean over new groups, and their spread is told
    apart. With several labels, `macro` is the mean over labels, and `micro`, of binary labels, pools their rows.

    Args:
        predictions: what to evaluate.
        other: predictions for the same videos, to be compared with the first ones on the same draws.
        draws: number of draws.
        seed: seed of the draws.
        interval: `percentile` or `bca`, which needs as many evaluations more as there are groups.
        level: `video` averages the scores over the windows of a video; `window` does not.
        metrics: names of metrics; all that the task has by default.
        progress: called with the number of finished parts and of all.
    Raises:
        ConfigError: an unknown metric, level or interval, or too few draws.
        PredictionsError: predictions that mix levels, or that cannot be compared.
    """
    check_interval(interval, draws)
    names = find_metrics(predictions.task, metrics)
    sides = [_at_level(side, level) for side in (predictions, other) if side is not None]
    if other is not None:
        sides[1] = matched(*sides)
    targets = _targets([cells_of(side) for side in sides], predictions.task == "binary")
    done, total = 0, sum(len(target.cells) for target in targets if target.kind != "macro")

    def advance() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    rows: list[Row] = []
    for _, of_split in groupby(targets, lambda target: target.cells[0].split):
        members = list(of_split)
        groups = _groups(sides, members)
        resampler = Resampler(
            int(groups[0].max()) + 1,
            draws=draws,
            seed=seed,
            interval=interval,
            metrics=names,
            rows=max(len(rows) for target in members for rows in target.cells[0].rows.values()),
        )
        sampled = [target for target in members if target.kind != "macro"]
        jobs = [
            (side, cell, group, seeds)
            for target in sampled
            for side, cell, group, seeds in zip(sides, target.cells, groups, target.seeds, strict=True)
        ]
        samples = resampler.samples(jobs, advance)
        by_target = {target: samples[at * len(sides) :][: len(sides)] for at, target in enumerate(sampled)}
        rows += _rows(sides[0], members, by_target, draws)
    return Evaluation(
        task=predictions.task,
        level=level,
        draws=draws,
        seed=seed,
        interval=interval,
        metrics=names,
        rows=tuple(corrected(rows)),
        notes=tuple(_notes(sides[0])),
    )


def _at_level(predictions: Predictions, level: Level) -> Predictions:
    if level not in ("video", "window"):
        raise ConfigError(f"level {level!r} is unknown; known are 'video' and 'window'")
    if level == "video":
        return to_videos(predictions)
    if not has_windows(predictions):
        raise PredictionsError("the predictions are of whole videos (window -1): there is no window level to evaluate")
    return predictions


def _targets(sides: Sequence[Sequence[Cell]], binary: bool) -> list[_Target]:
    """By split and ratio: all labels, if there are several, and each."""
    by_name = [{(cell.split, cell.ratio, cell.label): cell for cell in side} for side in sides]
    targets = []
    for (split, ratio), members in groupby(sides[0], lambda cell: (cell.split, cell.ratio)):
        labels = [cell.label for cell in members]
        cells = [[side[split, ratio, label] for label in labels] for side in by_name]
        seeds = tuple(tuple(pooled(side, "").rows) for side in cells)
        if len(labels) > 1:
            kinds: tuple[Kind, ...] = ("macro", "micro") if binary else ("macro",)
            targets += [_Target(kind, tuple(pooled(side, kind) for side in cells), seeds) for kind in kinds]
        targets += [_Target("label", of_label, seeds) for of_label in zip(*cells, strict=True)]
    return targets


def _groups(sides: Sequence[Predictions], targets: Sequence[_Target]) -> list[NDArray[np.int32]]:
    """The number of the group of each row, by the names of the groups of the split, and -1 elsewhere.

    The names are sorted, so that a draw is the same whatever the order of the rows.
    """
    rows = np.concatenate([target.cells[0].all_rows for target in targets if target.kind == "label"])
    group = sides[0].group
    names = sorted(group.names[code] for code in group.take(rows).used())
    return [side.group.recode(names) for side in sides]


def _rows(
    predictions: Predictions, targets: Sequence[_Target], samples: Mapping[_Target, Sequence[Sample]], draws: int
) -> Iterator[Row]:
    """The rows of a split."""
    for target in targets:
        cell = target.cells[0]
        labels = [one for one in targets if one.kind == "label" and one.cells[0].ratio == cell.ratio]
        below: dict[str, Sequence[Sample]] = {}
        if target.kind == "macro":
            below = {one.cells[0].label: samples[one] for one in labels}
            of_sides = [macro([samples[one][side] for one in labels]) for side in range(len(target.cells))]
        else:
            of_sides = list(samples[target])
        rows = cell.all_rows
        groups = len(predictions.group.take(rows).used())
        measures = [
            measures_of(sample, groups, {label: of[side] for label, of in below.items()})
            for side, sample in enumerate(of_sides)
        ]
        yield Row(
            split=cell.split,
            ratio=cell.ratio,
            label=cell.label,
            kind=target.kind,
            rows=len(rows) / len(cell.rows),
            videos=len(predictions.id.take(rows).used()),
            groups=groups,
            seeds=len(cell.rows),
            measures=measures[0],
            other=measures[1] if len(measures) > 1 else None,
            differences=differences_of(of_sides[0], of_sides[1], groups) if len(measures) > 1 else None,
            notes=tuple(_row_notes(predictions, rows, groups, draws, target.kind, measures)),
        )


def _row_notes(
    predictions: Predictions,
    rows: NDArray[np.int64],
    groups: int,
    draws: int,
    kind: Kind,
    measures: Sequence[Mapping[str, Measure]],
) -> Iterator[str]:
    if groups == 1:
        yield "one group only: there is nothing to draw from, and no interval"
    elif groups < _FEW_GROUPS:
        yield f"{groups} groups are few: below {_FEW_GROUPS}, intervals are unreliable, and mostly too narrow"
    if kind == "label" and predictions.classes:
        counts = np.bincount(predictions.y_true[rows], minlength=len(predictions.classes))
        absent = [name for name, count in zip(predictions.classes, counts, strict=True) if not count]
        if absent:
            yield f"no row is of the class {some(absent)}, which balanced_accuracy and means over classes leave out"
    outside = [name for name, measure in measures[0].items() if _is_outside(measure)]
    if outside:
        yield (
            f"the interval of {', '.join(outside)} does not hold the value: classes that few groups have are missing "
            "from many draws; test on more groups, or join classes"
        )
    for name, measure in measures[0].items():
        if measure.undefined_draws > _OFTEN * draws:
            yield f"{name} is undefined in {measure.undefined_draws:,} of {draws:,} draws: its interval is without them"


def _is_outside(measure: Measure) -> bool:
    if measure.value is None or measure.low is None or measure.high is None:
        return False
    return not measure.low - 1e-9 <= measure.value <= measure.high + 1e-9


def _notes(predictions: Predictions) -> Iterator[str]:
    p = predictions
    pairs = np.unique(row_keys(p.group.codes, p.id.codes))
    if len(pairs) == len(p.group.used()):
        yield (
            "every group has one video: if people or source videos recur, name them in the column 'group', or "
            "intervals are too narrow"
        )
    _, first = np.unique(row_keys(p.seed, p.fold, p.group.codes, p.split.codes), return_index=True)
    keys = row_keys(p.seed[first], p.fold[first], p.group.codes[first])
    _, number, counts = np.unique(keys, return_inverse=True, return_counts=True)
    repeated = p.group.take(first[counts[number] > 1])
    if len(repeated):
        yield (
            f"{len(repeated.used()):,} groups are in several splits of one fold, such as {repeated[0]!r}: what is "
            "learnt of them in one split helps in the other"
        )
