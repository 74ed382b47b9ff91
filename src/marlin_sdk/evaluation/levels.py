"""From predictions of windows to predictions of videos."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import PredictionsError
from marlin_sdk.evaluation.columns import row_keys
from marlin_sdk.evaluation.predictions import Predictions

__all__ = ["WHOLE_VIDEO", "has_windows", "to_videos"]

WHOLE_VIDEO = -1


def has_windows(predictions: Predictions) -> bool:
    """Whether the rows are windows, and not whole videos.

    Raises:
        PredictionsError: some are, and some are not.
    """
    windows = predictions.window != WHOLE_VIDEO
    if windows.any() and not windows.all():
        raise PredictionsError(
            f"{windows.sum():,} rows are windows and {(~windows).sum():,} whole videos (window -1): those would count "
            "twice; write them to two files"
        )
    return bool(windows.any())


def to_videos(predictions: Predictions) -> Predictions:
    """One row per video: the mean of the scores of its windows. Rows of whole videos stay as they are.

    Raises:
        PredictionsError: windows of one video that differ in `y_true` or `group`.
    """
    if not has_windows(predictions):
        return predictions
    p = predictions
    keys = row_keys(p.split.codes, p.ratio, p.label.codes, p.seed, p.fold, p.id.codes)
    order = np.argsort(keys, kind="stable")
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys.min() - 1))
    first = order[starts]
    counts = np.diff(starts, append=len(order))
    for name, column in (("y_true", p.y_true), ("group", p.group.codes)):
        _check_same(p, name, column[order], np.repeat(column[first], counts), order)
    means = np.add.reduceat(p.scores[order], starts, axis=0, dtype=np.float64) / counts[:, None]
    videos = p.take(first)
    return replace(videos, scores=means, window=np.full(len(first), WHOLE_VIDEO, np.int32))


def _check_same(p: Predictions, name: str, values: NDArray[Any], expected: NDArray[Any], order: NDArray[Any]) -> None:
    differs = values != expected
    if differs.any():
        row = int(order[int(differs.argmax())])
        raise PredictionsError(
            f"windows of the video {p.id[row]!r} differ in {name}: a video has one; evaluate them at window level"
        )
