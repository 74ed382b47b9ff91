"""How a head does by cell: recall, false positives, AUC and calibration of its predictions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import PredictionsError
from marlin_sdk.evaluation.audit.cells import Cell, Videos, project
from marlin_sdk.evaluation.audit.comparing import Better, GroupTable, compare, mean_scorer
from marlin_sdk.evaluation.columns import some
from marlin_sdk.evaluation.levels import to_videos
from marlin_sdk.evaluation.metrics import Ranking, Scorer, mean_of_defined
from marlin_sdk.evaluation.predictions import Predictions

__all__ = ["CLASSIFICATION", "REGRESSION", "class_scorer", "head_tables", "tested"]

CLASSIFICATION: dict[str, Better] = {
    "recall": "higher",
    "false_positive_rate": "lower",
    "auc": "higher",
    "calibration_error": "lower",
}
"""Of the positive class of two; of more classes the mean over each against the rest. The calibration error is the mean
distance between confidence and share right, in ten bins of confidence."""

REGRESSION: dict[str, Better] = {"mae": "lower", "bias": "neither"}
"""Mean absolute error, and mean error."""

_BINS = 10
_MAX_LABELS = 40
_SMALL = "the calibration error is larger in small cells, by chance alone: compare cells of about one size"


def tested(predictions: Predictions) -> Predictions:
    """One prediction a video and fold: of the split `test` if there is one, the largest ratio, and the first seed."""
    rows = predictions.split.recode(["test"]) == 0
    rows = rows if rows.any() else np.ones(len(predictions), np.bool_)
    rows &= predictions.ratio == predictions.ratio[rows].max()
    return to_videos(predictions.take(rows & (predictions.seed == predictions.seed[rows].min())))


def head_tables(
    predictions: Predictions, videos: Videos, cells: Sequence[Cell], *, draws: int = 2000, seed: int = 0
) -> list[GroupTable]:
    """A table for each label of the predictions, at most 40.

    Args:
        predictions: of videos of the dump.
        videos: from `read_videos`.
        cells: of the videos.
        draws: number of draws of subjects.
        seed: of the draws.
    Raises:
        PredictionsError: they are of no video of the dump, or of windows that contradict each other.
    """
    own = tested(predictions)
    numbers = {id: number for number, id in enumerate(videos.ids)}
    known = np.array([numbers.get(name, -1) for name in own.id.names], np.int64)
    video = known[own.id.codes]
    if not (video >= 0).any():
        raise PredictionsError(
            f"none of the videos of the predictions ({some(list(own.id.names))}) is in the dump, which has "
            f"{some(list(videos.ids))}: give the dump that was probed"
        )
    notes = [] if not own.classes else [_SMALL]
    if absent := int((video < 0).sum()):
        notes.append(f"{absent} predictions are for videos that the dump does not have, and are left out")
    own, video = own.take(video >= 0), video[video >= 0]
    labels = [own.label.names[code] for code in own.label.used()]
    if len(labels) > _MAX_LABELS:
        notes.append(f"{len(labels) - _MAX_LABELS} more labels are left out")
    tables = []
    for label in labels[:_MAX_LABELS]:
        rows = np.flatnonzero(own.label.recode([label]) == 0)
        part, of = own.take(rows), video[rows]
        metrics = CLASSIFICATION if part.classes else REGRESSION
        tables.append(
            compare(
                f"Predicting {label}",
                project(cells, of),
                videos.subjects[of],
                _scorer_of(part),
                metrics,
                draws=draws,
                seed=seed,
                notes=notes,
            )
        )
    return tables


def _scorer_of(part: Predictions) -> Callable[[NDArray[np.int64], NDArray[np.int64], int], Scorer]:
    if not part.classes:
        errors = part.scores[:, 0].astype(np.float64) - part.y_true
        values = np.stack([np.abs(errors), errors], axis=1)
        return partial(mean_scorer, values, tuple(REGRESSION))
    return lambda rows, groups, count: class_scorer(part.take(rows), groups[rows], count)


def class_scorer(part: Predictions, groups: NDArray[np.int64], count: int) -> Scorer:
    """The measures of `CLASSIFICATION` as a function of the weights of the groups.

    Args:
        part: the predictions of a cell.
        groups: (N,), number of the group of each.
        count: number of groups.
    """
    scores = part.scores.astype(np.float64)
    chances = np.concatenate([1 - scores, scores], axis=1) if scores.shape[1] == 1 else scores
    # at a half the positive class of two is predicted, as everywhere
    chosen = (scores[:, 0] >= 0.5).astype(np.int64) if part.task == "binary" else chances.argmax(axis=1)
    classes = np.arange(1, 2) if part.task == "binary" else np.arange(chances.shape[1])
    true, said = part.y_true[:, None] == classes, chosen[:, None] == classes
    counted = _by_group(np.concatenate([true & said, true, ~true & said, ~true], axis=1), groups, count)
    rankings = [
        Ranking(true[:, at], chances[:, index], groups, count) if true[:, at].any() and not true[:, at].all() else None
        for at, index in enumerate(classes.tolist())
    ]
    confidence = chances.max(axis=1)
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)[:, None] == np.arange(_BINS)
    distance = _by_group(bins * (confidence - (chosen == part.y_true))[:, None], groups, count)
    sizes = np.bincount(groups, minlength=count).astype(np.float64)

    def score(weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        hits, positives, false, negatives = np.split(counted.T @ weights, 4)
        with np.errstate(invalid="ignore", divide="ignore"):
            recall, fpr = hits / positives, false / negatives
            calibration = np.abs(distance.T @ weights).sum(axis=0) / (sizes @ weights)
        undefined = np.full(weights.shape[1], np.nan)
        areas = [undefined if ranking is None else ranking(weights)["auc"] for ranking in rankings]
        return {
            "recall": mean_of_defined(recall),
            "false_positive_rate": mean_of_defined(fpr),
            "auc": mean_of_defined(np.stack(areas)),
            "calibration_error": calibration,
        }

    return score


def _by_group(values: NDArray[Any], groups: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, groups, values)
    return sums
