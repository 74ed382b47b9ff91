"""The p-value of a paired difference, and those of several corrected for their number."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Correction", "benjamini_hochberg", "correct", "holm", "p_value"]

Correction = Literal["holm", "benjamini-hochberg"]
_MANY = 10


def p_value(differences: NDArray[Any]) -> float:
    """Two-sided p-value of a difference of zero, from the difference in each draw; the smallest is 2 / (draws + 1).

    It is the smallest level at which a percentile interval leaves out zero.
    """
    defined = differences[~np.isnan(differences)]
    side = min((defined <= 0).sum(), (defined >= 0).sum())
    return float(min(1.0, 2 * (side + 1) / (len(defined) + 1)))


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values by Holm (1979): the chance of any false discovery stays below the level."""
    values = np.asarray(p, np.float64)
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(steps, 1)
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values by Benjamini and Hochberg (1995): the share of false discoveries stays below the level."""
    from scipy.stats import false_discovery_control

    adjusted: NDArray[np.float64] = false_discovery_control(np.asarray(p, np.float64))
    return adjusted


def correct(p: ArrayLike) -> tuple[NDArray[np.float64], Correction]:
    """Adjust by Holm for fewer than ten comparisons, and by Benjamini and Hochberg from ten on."""
    values: NDArray[Any] = np.asarray(p, np.float64)
    return (holm(values), "holm") if len(values) < _MANY else (benjamini_hochberg(values), "benjamini-hochberg")
