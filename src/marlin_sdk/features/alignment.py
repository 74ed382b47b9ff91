"""Which window belongs to which moment: features beside audio, labels and other streams."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlin_sdk.errors import ConfigError

__all__ = ["closed_ends", "even_times", "rows_at"]

_MAX_TIMES = 100_000_000


def rows_at(start_s: NDArray[np.float64], end_s: NDArray[np.float64], times_s: ArrayLike) -> NDArray[np.int64]:
    """The window that shows each moment: of those that contain it, the one with the nearest centre.

    Args:
        start_s: (N,), starts of the windows, in any order.
        end_s: (N,), their ends, which do not belong to them.
        times_s: (T,), in seconds from the start of the video.
    Returns:
        int64 (T,), row numbers; -1 where no window contains the moment: before the first, in a gap, after the last.
    Raises:
        ConfigError: `times_s` is not one-dimensional, or holds NaN.
    """
    times = np.asarray(times_s, dtype=np.float64)
    if times.ndim != 1 or np.isnan(times).any():
        raise ConfigError(f"times_s has shape {times.shape}; expected (T,) seconds without NaN")
    rows = np.full(len(times), -1, dtype=np.int64)
    nearest = np.full(len(times), np.inf)
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    for row, (start, end) in enumerate(zip(start_s, end_s, strict=True)):
        inside = order[np.searchsorted(ordered, start) : np.searchsorted(ordered, end)]
        distance = np.abs(times[inside] - (start + end) / 2)
        closer = distance < nearest[inside]
        rows[inside[closer]], nearest[inside[closer]] = row, distance[closer]
    return rows


def closed_ends(start_s: NDArray[np.float64], end_s: NDArray[np.float64], num_steps: int) -> NDArray[np.float64]:
    """Ends of windows, put off to the next window's start where less than a step lies between.

    With every second frame sampled, a window ends with its last frame, one frame before the next window starts.

    Args:
        start_s: (N,), starts of the windows, in any order.
        end_s: (N,), their ends.
        num_steps: frames in a window.
    """
    if not len(start_s):
        return end_s
    starts = np.sort(start_s)
    following = np.append(starts, np.inf)[np.searchsorted(starts, end_s - 1e-9)]
    step_s = (end_s - start_s).max() / num_steps
    return np.where(following - end_s <= step_s, np.maximum(following, end_s), end_s)


def even_times(end_s: float, hz: float) -> NDArray[np.float64]:
    """Moments 0, 1 / hz, 2 / hz, ... before an end.

    Raises:
        ConfigError: `hz` is not a positive number, or gives more than 100 million moments.
    """
    if not 0 < hz < float("inf") or end_s * hz > _MAX_TIMES:
        raise ConfigError(f"hz is {hz!r}; expected a positive number of rows a second")
    return np.arange(int(np.ceil(round(end_s * hz, 6)))) / hz
