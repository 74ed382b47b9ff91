"""What the data itself says of a column: how many there are, which labels go with it, and whether features show it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.audit.cells import Cell, Videos, as_values
from marlin_sdk.evaluation.evaluate import evaluate
from marlin_sdk.evaluation.intervals import draw_groups, interval_of
from marlin_sdk.evaluation.predictions import concatenate
from marlin_sdk.evaluation.probe.cells import Cell as Fit
from marlin_sdk.evaluation.probe.cells import fit_cell
from marlin_sdk.evaluation.probe.samples import Samples, read_samples
from marlin_sdk.evaluation.probe.splits import make_folds
from marlin_sdk.evaluation.probe.targets import Target

__all__ = ["Association", "ColumnProbe", "Count", "associations", "column_probes", "counts", "cramers_v"]

_FOLDS = 5
_SHUFFLES = 200
_NO_LABEL = ("group", "source", "split", "fold")


@dataclass(frozen=True)
class Count:
    """How many of a cell there are.

    Attributes:
        column: a column, or several.
        value: their value.
        videos: number of videos.
        subjects: number of subjects.
    """

    column: str
    value: str
    videos: int
    subjects: int


@dataclass(frozen=True)
class Association:
    """How a label goes with a column.

    Attributes:
        column: the column.
        label: the label.
        v: Cramér's V over videos: 0 is independent, 1 determines.
        low: lower end of its interval of 95 %, by drawing subjects.
        high: upper end.
        by_chance: V that one of twenty tables exceeds whose column is shuffled among subjects.
        columns: values of the column.
        rows: values of the label.
        table: number of videos, a list per value of the label.
    """

    column: str
    label: str
    v: float
    low: float
    high: float
    by_chance: float
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    table: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ColumnProbe:
    """How well a logistic head tells the values of a column from features.

    Attributes:
        column: the column.
        balanced_accuracy: mean recall of its values, over folds that share no subject; None with `why`.
        low: lower end of its interval of 95 %.
        high: upper end.
        chance: what a constant gets: one over the number of values; None without two.
        videos: number of videos.
        subjects: number of subjects.
        why: why it could not be measured; or what was left out.
    """

    column: str
    balanced_accuracy: float | None
    low: float | None
    high: float | None
    chance: float | None
    videos: int
    subjects: int
    why: str = ""


def counts(videos: Videos, cells: Sequence[Cell]) -> list[Count]:
    """Videos and subjects of each cell."""
    return [
        Count(cell.column, cell.value, int(cell.rows.sum()), len(set(videos.subjects[cell.rows].tolist())))
        for cell in cells
    ]


def associations(
    dump: FeatureDump, videos: Videos, *, draws: int = 2000, seed: int = 0
) -> tuple[list[Association], list[str]]:
    """Each label of the dump against each column, and what was left out, in words."""
    labels = [dump.labels(id) for id in videos.ids]
    names = sorted({name for own in labels for name in own} - {*videos.columns, *_NO_LABEL})
    found, notes = [], []
    for name in names:
        try:
            values = as_values(name, [own.get(name) for own in labels])
        except ConfigError as error:
            notes.append(f"not associated with anything: {error}")
            continue
        for column, own in videos.columns.items():
            if association := _associate(column, own, name, values, videos.subjects, draws=draws, seed=seed):
                found.append(association)
            else:
                notes.append(f"{column} and {name}: the videos that have both have one value of either")
    return sorted(found, key=lambda one: -one.v), notes


def _associate(
    column: str,
    values: Sequence[str | None],
    label: str,
    classes: Sequence[str | None],
    subjects: NDArray[np.str_],
    *,
    draws: int,
    seed: int,
) -> Association | None:
    pairs = list(zip(classes, values, strict=True))
    both = [row for row, pair in enumerate(pairs) if None not in pair]
    first, of_first = np.unique([str(pairs[row][0]) for row in both], return_inverse=True)
    second, of_second = np.unique([str(pairs[row][1]) for row in both], return_inverse=True)
    if min(len(first), len(second)) < 2:
        return None
    _, groups = np.unique(subjects[both], return_inverse=True)
    number, shape = int(groups.max()) + 1, (len(first), len(second))
    by_subject = np.zeros((number, *shape))
    np.add.at(by_subject, (groups, of_first, of_second), 1)
    table = by_subject.sum(axis=0)
    flat = by_subject.reshape(number, -1)
    drawn = np.concatenate([flat.T @ block for block in draw_groups(number, draws, seed, np.float64)], axis=1)
    v = float(cramers_v(table))
    low, high = interval_of(v, cramers_v(np.moveaxis(drawn.reshape(*shape, -1), -1, 0)))
    shuffled = list(_shuffled(groups, of_first, of_second, shape, seed))
    return Association(
        column,
        label,
        v,
        low,
        high,
        float(np.quantile(shuffled, 0.95)),
        tuple(second.tolist()),
        tuple(first.tolist()),
        tuple(tuple(int(count) for count in row) for row in table),
    )


def _shuffled(
    groups: NDArray[np.int64], rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int], seed: int
) -> Iterator[float]:
    """V with the column's values dealt out anew: among subjects that keep theirs, else among videos."""
    random = np.random.default_rng(seed)
    first = np.unique(groups, return_index=True)[1]
    is_constant = bool((columns == columns[first][groups]).all())
    for _ in range(_SHUFFLES):
        dealt = random.permutation(columns[first])[groups] if is_constant else random.permutation(columns)
        table = np.zeros(shape)
        np.add.at(table, (rows, dealt), 1)
        yield float(cramers_v(table))


def cramers_v(tables: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cramér's V of contingency tables (..., R, C); NaN where all is in one row or column."""
    total = tables.sum(axis=(-2, -1), keepdims=True)
    rows, columns = tables.sum(axis=-1, keepdims=True), tables.sum(axis=-2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = rows * columns / total
        squares = np.where(expected > 0, (tables - expected) ** 2 / expected, 0).sum(axis=(-2, -1))
        used = np.minimum((rows > 0).sum(axis=(-2, -1)), (columns > 0).sum(axis=(-2, -1))) - 1
        return np.asarray(np.sqrt(squares / (total[..., 0, 0] * np.where(used > 0, used, np.nan))))


def column_probes(
    dump: FeatureDump,
    videos: Videos,
    *,
    draws: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[ColumnProbe]:
    """Probe each column from the mean feature of a video, by logistic regression over five folds by subject.

    Args:
        dump: the dump.
        videos: from `read_videos`.
        draws: number of draws of subjects.
        seed: of folds and draws.
        progress: called with the number of videos read, and of all.
    Raises:
        ConfigError: features that a probe cannot use; see `read_samples`.
        MissingExtraError: scikit-learn is not installed.
    """
    samples = read_samples(dump, progress=progress)
    number = {id: at for at, id in enumerate(videos.ids)}
    rows = [number[id] for id in samples.ids.tolist()]
    return [
        _probe(samples, column, [values[row] for row in rows], draws=draws, seed=seed)
        for column, values in videos.columns.items()
    ]


def _probe(samples: Samples, column: str, values: Sequence[str | None], *, draws: int, seed: int) -> ColumnProbe:
    subjects: dict[str, set[str]] = {}
    for value, subject in zip(values, samples.groups.tolist(), strict=True):
        if value is not None:
            subjects.setdefault(value, set()).add(subject)
    classes = tuple(sorted(value for value, own in subjects.items() if len(own) > 1))
    alone = sorted(subjects.keys() - set(classes))
    why = f"left out, as only one subject has it: {', '.join(alone)}" if alone else ""
    at = {name: index for index, name in enumerate(classes)}
    indices = np.array([at.get(value, -1) if value is not None else -1 for value in values], np.int64)
    shown = np.flatnonzero(indices >= 0)
    sizes = len(shown), len(set(samples.groups[shown].tolist()))
    if len(classes) < 2:
        return ColumnProbe(column, None, None, None, None, *sizes, "fewer than two values have two subjects each")
    target = Target(column, "classification", classes, indices, int((indices < 0).sum()))
    folds = min(_FOLDS, *(len(subjects[name]) for name in classes))
    try:
        parts = [
            fit_cell(Fit("features", fold.number, 1.0, 0), samples, (target,), fold, "logistic")
            for fold in make_folds(samples, target, folds=folds, seed=seed)
        ]
    except ConfigError as error:
        return ColumnProbe(column, None, None, None, 1 / len(classes), *sizes, str(error))
    predictions = concatenate([part for part in parts if not isinstance(part, str)])
    measure = (
        evaluate(predictions, draws=draws, seed=seed, metrics=["balanced_accuracy"])
        .rows[0]
        .measures["balanced_accuracy"]
    )
    return ColumnProbe(column, measure.value, measure.low, measure.high, 1 / len(classes), *sizes, why)
