"""Metrics of a ranking, for many weightings of the groups at once: AUC, average precision, equal error rate."""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ranking"]

_ELEMENTS = 1 << 20  # of one of the matrices: larger ones leave the cache


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
        self.thresholds = len(thresholds)
        # The first threshold that a row reaches; a last one, with no positive row, is for those below all others.
        reached = np.searchsorted(-thresholds, -scores, side="left")
        tied = ~positive & (reached < self.thresholds)
        tied[tied] = thresholds[reached[tied]] == scores[tied]

        def matrix(rows: NDArray[np.bool_]) -> Any:
            ones = np.ones(int(rows.sum()), np.float32)
            return sparse.csr_matrix((ones, (reached[rows], groups[rows])), shape=(self.thresholds + 1, count))

        self._positive, self._negative = matrix(positive), matrix(~positive)
        self._tied = matrix(tied) if tied.any() else None

    def __call__(self, weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """`auc`, `average_precision` and `eer` for each column of the weights [G, B]."""
        width = max(1, _ELEMENTS // (self.thresholds + 1))
        parts = [self._score(weights[:, at : at + width]) for at in range(0, weights.shape[1], width)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _score(self, weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        weights = np.ascontiguousarray(weights)
        found = self._positive @ weights  # at each threshold
        true, false = found.copy(), self._negative @ weights
        _run(true)  # at it or above
        _run(false)
        positives, negatives = true[-1].astype(np.float64), false[-1].astype(np.float64)
        tied = None if self._tied is None else self._tied @ weights
        above = _dot(found, false) - (0 if tied is None else _dot(found, tied) / 2)
        selected = true + false
        with np.errstate(invalid="ignore", divide="ignore"):
            # Nobody may be selected by the first thresholds; then nobody is found there either.
            precision = np.divide(true, np.maximum(selected, np.finfo(selected.dtype).tiny, out=selected), out=selected)
            return {
                "auc": 1 - above / (positives * negatives),
                "average_precision": _dot(found, precision) / positives,
                "eer": _equal_error(true, false, tied, positives, negatives),
            }


def _equal_error(
    true: NDArray[Any], false: NDArray[Any], tied: NDArray[Any] | None, positives: NDArray[Any], negatives: NDArray[Any]
) -> NDArray[Any]:
    """Where false negatives and false positives are equal. Their difference falls from threshold to threshold."""
    columns = np.arange(true.shape[1])

    def rates(index: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """False negatives and false positives, as shares; all and none before the first threshold."""
        none, at = index < 0, np.maximum(index, 0)
        misses = 1 - np.where(none, 0, true[at, columns]) / positives
        return misses, np.where(none, 0, false[at, columns]) / negatives

    low, high = np.full(len(columns), -1), np.full(len(columns), len(true) - 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        misses, alarms = rates(middle)
        falls = (misses <= alarms) | (middle <= low)
        low, high = np.where(falls, low, middle), np.where(falls & (middle > low), middle, high)
    misses, alarms = rates(low)
    next_misses, next_alarms = rates(high)
    # First to the right, past the negative rows between the thresholds; then, with those tied, up.
    right = next_alarms - (0 if tied is None else tied[high, columns] / negatives)
    before, after = misses - right, next_misses - next_alarms
    share = np.where(before > after, before / np.where(before > after, before - after, 1), 0)
    crossing = np.where(before <= 0, misses, misses + share * (next_misses - misses))
    return np.where((positives > 0) & (negatives > 0), crossing, np.nan)


def _dot(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.float64]:
    """The sum of the products over rows, in double precision from block to block."""
    total = np.zeros(one.shape[1])
    for at in range(0, len(one), 512):
        total += np.einsum("kb,kb->b", one[at : at + 512], two[at : at + 512])
    return total


def _run(values: NDArray[Any]) -> None:
    """Cumulative sum over rows, in place; `np.cumsum(axis=0)` takes ten times as long."""
    rows, columns = values.shape
    step = isqrt(rows)
    blocks = values[: rows - rows % step].reshape(-1, step, columns)
    for row in range(1, step):
        blocks[:, row] += blocks[:, row - 1]
    for block in range(1, len(blocks)):
        blocks[block] += blocks[block - 1, -1]
    for row in range(rows - rows % step, rows):
        values[row] += values[row - 1]
