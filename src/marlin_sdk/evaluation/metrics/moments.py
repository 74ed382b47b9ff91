"""Metrics of a regression, for many weightings of the groups at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["moment_scorer"]


def moment_scorer(
    truth: NDArray[np.float64], predicted: NDArray[np.float64], groups: NDArray[Any], count: int
) -> Callable[[NDArray[Any]], dict[str, NDArray[Any]]]:
    """CCC, Pearson's correlation and the mean absolute error as a function of the weights of the groups.

    CCC is Lin's concordance: 2 cov / (var + var + (difference of the means)²), with moments that divide by N.

    Args:
        truth: numbers, float64 [N].
        predicted: numbers, float64 [N].
        groups: number of the group of each row, int [N].
        count: number of groups.
    """
    # Centred and scaled, so that squares neither cancel nor overflow.
    centre, scale = truth.mean(), max(float(np.ptp(truth)), float(np.ptp(predicted))) or 1.0
    y, p = (truth - centre) / scale, (predicted - centre) / scale
    rows = [np.ones_like(y), y, p, y * y, p * p, y * p, np.abs(y - p)]
    sums = np.stack([np.bincount(groups, row, minlength=count) for row in rows])

    def score(weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        total, *others = sums @ weights.astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean_y, mean_p, yy, pp, yp, error = (moment / total for moment in others)
            var_y, var_p, cov = yy - mean_y**2, pp - mean_p**2, yp - mean_y * mean_p
            # What rounding leaves of a variance of zero.
            var_y, var_p = (np.where(var > 1e-14 * square, var, 0) for var, square in ((var_y, yy), (var_p, pp)))
            return {
                "ccc": 2 * cov / (var_y + var_p + (mean_y - mean_p) ** 2),
                "pearson": np.where((var_y > 0) & (var_p > 0), cov / np.sqrt(var_y * var_p), np.nan),
                "mae": error * scale,
            }

    return score
