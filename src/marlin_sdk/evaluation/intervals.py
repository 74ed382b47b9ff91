"""Intervals by drawing groups with replacement: a cluster bootstrap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError

__all__ = ["CONFIDENCE", "Interval", "check_interval", "draw_groups", "interval_of", "leave_one_out"]

Interval = Literal["percentile", "bca"]
CONFIDENCE = 0.95
_BLOCK = 512  # columns: of fewer, each step is shorter than its call
_FEWEST_DRAWS = 100


def check_interval(interval: str, draws: int) -> None:
    """Refuse an unknown kind of interval, or too few draws for its ends.

    Raises:
        ConfigError: either is the case.
    """
    if interval not in ("percentile", "bca"):
        raise ConfigError(f"interval {interval!r} is unknown; known are 'percentile' and 'bca'")
    if draws < _FEWEST_DRAWS:
        raise ConfigError(f"{draws} draws are too few for an interval of {CONFIDENCE:.0%}: at least {_FEWEST_DRAWS}")


def draw_groups(groups: int, draws: int, seed: int, dtype: type = np.float32) -> Iterator[NDArray[Any]]:
    """How often each group is in each draw of as many groups with replacement, in blocks [groups, columns].

    Args:
        groups: number of groups.
        draws: number of draws.
        seed: of the random numbers; the same one gives the same draws.
        dtype: of the counts.
    """
    rng = np.random.default_rng(seed)
    for at in range(0, draws, _BLOCK):
        columns = min(_BLOCK, draws - at)
        drawn = rng.integers(groups, size=(columns, groups)) + np.arange(columns)[:, None] * groups
        counts = np.bincount(drawn.ravel(), minlength=columns * groups).reshape(columns, groups)
        yield np.ascontiguousarray(counts.T.astype(dtype))


def leave_one_out(groups: int, dtype: type = np.float32) -> Iterator[NDArray[Any]]:
    """All groups but one, for each of them, in blocks [groups, columns]."""
    for at in range(0, groups, _BLOCK):
        columns = np.arange(at, min(groups, at + _BLOCK))
        weights: NDArray[Any] = np.ones((groups, len(columns)), dtype)
        weights[columns, columns - at] = 0
        yield weights


def interval_of(value: float, draws: NDArray[Any], jackknife: NDArray[Any] | None = None) -> tuple[float, float]:
    """The interval of a value from what it is in each draw; NaN are draws in which it is undefined, and left out.

    Args:
        value: of all groups.
        draws: value in each draw [B].
        jackknife: value without each group [G]; gives a BCa interval (Efron 1987), which corrects bias and skewness.
            Without it, the interval is that of the percentiles.
    Raises:
        ValueError: it is undefined in all draws.
    """
    draws = np.sort(draws[~np.isnan(draws)])
    if not len(draws):
        raise ValueError("no draw has a value")
    ends = np.array([(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    if jackknife is not None and draws[0] < draws[-1]:
        ends = _bca_ends(ends, value, draws, jackknife)
    low, high = np.quantile(draws, ends)
    return float(low), float(high)


def _bca_ends(
    ends: NDArray[np.float64], value: float, draws: NDArray[Any], jackknife: NDArray[Any]
) -> NDArray[np.float64]:
    from scipy.special import ndtr, ndtri

    below = ((draws < value).mean() + (draws <= value).mean()) / 2
    bias = ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    defined = jackknife[~np.isnan(jackknife)]
    gaps = defined.mean() - defined if len(defined) else np.zeros(1)
    spread = float((gaps**2).sum())
    skew = float((gaps**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    shifted = bias + ndtri(ends)
    return np.asarray(ndtr(bias + shifted / (1 - skew * shifted)), np.float64)
