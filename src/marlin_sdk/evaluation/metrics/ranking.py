"""Metrics of a ranking, for many weightings of the groups at once: AUC, average precision, equal error rate."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ranking"]

_THRESHOLDS = 512  # at once: with some hundred weightings, what is computed of them stays in the cache


class Ranking:
    """AUC, average precision and equal error rate as a function of the weights of the groups.

    From the highest score down, a threshold stands at each distinct score of a positive row; between two of them, the
    ROC only gains false positives. Its ties count half. The equal error rate is where the ROC, linear between its
    points, has as many false positives as false negatives, each as a share of its class.

    Args:
        positive: whether a row is of the class, bool [N].
        scores: the higher, the surer, float [N].
        groups: number of the group of each row, int [N].
        count: number of groups.
    """

    def __init__(self, positive: NDArray[np.bool_], scores: NDArray[Any], groups: NDArray[Any], count: int) -> None:
        from scipy import sparse

        thresholds = np.unique(scores[positive])[::-1]
        # The first threshold that a row reaches; those of negative rows below all of them count in the total only.
        reached = np.searchsorted(-thresholds, -scores, side="left")
        inside = ~positive & (reached < len(thresholds))
        tied = inside.copy()
        tied[inside] = thresholds[reached[inside]] == scores[inside]

        def matrices(rows: NDArray[np.bool_]) -> list[Any]:
            """The number of rows at each threshold by group, some thresholds at a time."""
            ones = np.ones(int(rows.sum()), np.float32)
            matrix = sparse.csr_matrix((ones, (reached[rows], groups[rows])), shape=(len(thresholds), count))
            return [matrix[at : at + _THRESHOLDS] for at in range(0, len(thresholds), _THRESHOLDS)]

        ties = [part if part.nnz else None for part in matrices(tied)]
        self._parts = list(zip(matrices(positive), matrices(inside), ties, strict=True))
        self._totals = np.stack([np.bincount(groups[rows], minlength=count) for rows in (positive, ~positive)])

    def __call__(self, weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """`auc`, `average_precision` and `eer` for each column of the weights [G, B]."""
        positives, negatives = (self._totals.astype(weights.dtype) @ weights).astype(np.float64)
        above, precision = np.zeros_like(positives), np.zeros_like(positives)
        equal = np.full_like(positives, np.nan)
        true = false = np.zeros_like(weights, shape=(1, len(positives)))
        for at_threshold, between, ties in self._parts:
            found = at_threshold @ weights
            true = _sums_from(true[-1], found)
            false = _sums_from(false[-1], between @ weights)
            above += _dot(found, false[1:])
            tied = None
            if ties is not None:
                tied = ties @ weights
                above -= _dot(found, tied) / 2
            # Nobody may be selected by the first thresholds; then nobody is found there either.
            selected = np.maximum(true[1:] + false[1:], np.finfo(found.dtype).tiny)
            precision += _dot(found, np.divide(true[1:], selected, out=selected))
            ahead = np.flatnonzero(np.isnan(equal))
            equal[ahead] = _equal_error(true, false, tied, positives, negatives, ahead)
        with np.errstate(invalid="ignore", divide="ignore"):
            return {
                "auc": 1 - above / (positives * negatives),
                "average_precision": precision / positives,
                # Nowhere: all positive rows come first.
                "eer": np.where(positives * negatives > 0, np.nan_to_num(equal), np.nan),
            }


def _sums_from(start: NDArray[Any], values: NDArray[Any]) -> NDArray[Any]:
    """Cumulative sums over rows [K + 1, B]; `np.cumsum(axis=0)` takes ten times as long."""
    sums = np.empty((len(values) + 1, values.shape[1]), values.dtype)
    sums[0], sums[1:] = start, values
    step = isqrt(len(sums))
    rest = len(sums) - len(sums) % step
    blocks = sums[:rest].reshape(-1, step, sums.shape[1])
    for row in range(1, step):
        blocks[:, row] += blocks[:, row - 1]
    for block in range(1, len(blocks)):
        blocks[block] += blocks[block - 1, -1]
    for row in range(rest, len(sums)):
        sums[row] += sums[row - 1]
    return sums


def _dot(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of the products over rows."""
    total: NDArray[np.float64] = np.einsum("kb,kb->b", one, two).astype(np.float64)
    return total


def _equal_error(
    true: NDArray[Any],
    false: NDArray[Any],
    tied: NDArray[Any] | None,
    positives: NDArray[Any],
    negatives: NDArray[Any],
    columns: NDArray[Any],
) -> NDArray[Any]:
    """Where false negatives and false positives are equal; NaN if that is not between these thresholds.

    Args:
        true: positive rows found before these thresholds, and at each or above it [K + 1, B].
        false: negative rows, likewise.
        tied: those of the negative rows at a threshold exactly [K, B].
        positives: of all [B].
        negatives: of all [B].
        columns: those of the B that are asked for [C].
    """

    def rates(index: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """False negatives and false positives, as shares."""
        return 1 - true[index, columns] / positives[columns], false[index, columns] / negatives[columns]

    with np.errstate(invalid="ignore", divide="ignore"):
        misses, alarms = rates(np.full(len(columns), len(true) - 1))
        crosses = misses <= alarms
        result = np.full(len(columns), np.nan)
        if not crosses.any():
            return result
        columns = columns[crosses]
        low, high = np.zeros(len(columns), int), np.full(len(columns), len(true) - 1)
        while (high - low > 1).any():  # the difference falls from threshold to threshold
            middle = (low + high) // 2
            misses, alarms = rates(middle)
            inside = high - low > 1
            falls = misses <= alarms
            low, high = np.where(inside & ~falls, middle, low), np.where(inside & falls, middle, high)
        misses, alarms = rates(low)
        next_misses, next_alarms = rates(high)
        # First to the right, past the negative rows between the thresholds; then, with those tied, up.
        right = next_alarms if tied is None else next_alarms - tied[high - 1, columns] / negatives[columns]
        before, after = misses - right, next_misses - next_alarms
        share = np.where(before > after, before / np.where(before > after, before - after, 1), 0)
        result[crosses] = np.where(before <= 0, misses, misses + share * (next_misses - misses))
        return result
