"""Two files of predictions for the same videos, to be compared draw by draw."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import PredictionsError
from marlin_sdk.evaluation.columns import row_keys, some
from marlin_sdk.evaluation.predictions import Predictions
from marlin_sdk.evaluation.texts import Texts

__all__ = ["matched"]


def matched(one: Predictions, two: Predictions) -> Predictions:
    """The second predictions, if they are for the same rows as the first, with their classes in the same order.

    Both have the same videos and windows by split, ratio and label, each with the same `y_true` and `group`. Seeds and
    folds may differ.

    Raises:
        PredictionsError: they do not; the message names the videos.
    """
    if one.task != two.task or set(one.classes) != set(two.classes) or one.score_names[0] not in two.score_names:
        raise PredictionsError(
            f"predictions to compare must be of one task and of the same classes; these are {one.task!r} with the "
            f"scores {list(one.score_names)}, and {two.task!r} with {list(two.score_names)}"
        )
    if one.classes != two.classes:
        places = [two.classes.index(name) for name in one.classes]
        two = replace(two, classes=one.classes, scores=two.scores[:, places], y_true=np.argsort(places)[two.y_true])
    rows_one, rows_two = _same_rows(one, two)
    _check_same("y_true", one, rows_one, one.y_true, two.y_true[rows_two])
    groups = Texts.concatenate([one.group, two.group]).codes
    _check_same("group", one, rows_one, groups, groups[len(one) :][rows_two])
    return two


def _same_rows(one: Predictions, two: Predictions) -> tuple[NDArray[Any], NDArray[Any]]:
    """A row of each for each video or window by split, ratio and label, in the same order."""
    columns = [Texts.concatenate([getattr(one, name), getattr(two, name)]).codes for name in ("split", "label", "id")]
    numbers = [np.concatenate([getattr(one, name), getattr(two, name)]) for name in ("ratio", "window")]
    keys = row_keys(columns[0], numbers[0], columns[1], columns[2], numbers[1])
    (keys_one, rows_one), (keys_two, rows_two) = (
        np.unique(part, return_index=True) for part in (keys[: len(one)], keys[len(one) :])
    )
    lone = (~np.isin(keys_one, keys_two), ~np.isin(keys_two, keys_one))
    sides = zip(("first", "second"), (one, two), (rows_one, rows_two), lone, strict=True)
    if alone := [_alone(what, side, rows[at]) for what, side, rows, at in sides if at.any()]:
        raise PredictionsError(f"predictions to compare must be for the same videos; {'; '.join(alone)}")
    return rows_one, rows_two


def _alone(what: str, side: Predictions, rows: NDArray[Any]) -> str:
    names = [side.id.names[code] for code in side.id.take(rows).used()]
    row = int(rows[0])
    return (
        f"{len(rows):,} are only in the {what}: {some(names)} (one of split {side.split[row]!r}, ratio "
        f"{side.ratio[row]:g}, label {side.label[row]!r}, window {side.window[row]})"
    )


def _check_same(name: str, one: Predictions, rows: NDArray[Any], values: NDArray[Any], others: NDArray[Any]) -> None:
    differs = values[rows] != others
    if differs.any():
        row = int(rows[int(differs.argmax())])
        raise PredictionsError(
            f"predictions to compare differ in {name} in {differs.sum():,} rows, the first {one.key(row)}: they are "
            "not of the same data set"
        )
