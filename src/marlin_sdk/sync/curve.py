"""Distance curves over shifts of the sound, and the offset that a curve says: arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MAX_SHIFT", "SHIFTS", "Reading", "mean_curve", "read_curve", "slope_ms_per_min"]

MAX_SHIFT = 15
"""Frames of 40 ms, either way: those of SyncNet's measures."""

SHIFTS = tuple(range(-MAX_SHIFT, MAX_SHIFT + 1))
"""Of the sound against the picture; positive where the sound is late."""

_MIN_SHIFTS = MAX_SHIFT + 1  # of a window, that have sound
_FRAME_MS = 40.0


@dataclass(frozen=True)
class Reading:
    """What a curve says.

    Attributes:
        offset_ms: of the sound against the picture: positive where the sound is late, so that playing it earlier by
            this much puts it in time.
        confidence: median of the curve minus its minimum; 0 for a curve that says nothing.
        distance: the minimum.
        curve: 31 distances, at shifts of -15 to 15 frames; NaN where the sound does not reach.
    """

    offset_ms: float
    confidence: float
    distance: float
    curve: tuple[float, ...]


def mean_curve(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mean curve of several windows.

    Windows at the ends of a sound have no distance at some shifts. So that a shift does not depend on which windows
    have it, each window's own mean is taken off first, and the mean of all put back.

    Args:
        found: (N, 31), NaN where a window has no sound; at least one value.
    Returns:
        (31,), NaN at shifts that no window has.
    """
    known = np.isfinite(found)
    own = np.where(known, found, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    levelled = np.where(known, found - own[:, None], 0).sum(axis=0)
    counts = known.sum(axis=0)
    overall = float(own[known.any(axis=1)].mean())
    return np.where(counts > 0, levelled / np.maximum(counts, 1) + overall, np.nan)


def read_curve(found: NDArray[np.float64]) -> Reading | None:
    """The offset that the windows of a face say together.

    The minimum is refined between frames by the parabola through it and its neighbours.

    Args:
        found: (N, 31), distances of each window at each shift, NaN where it has no sound.
    Returns:
        None if no window has sound at more than half of the shifts.
    """
    enough = np.isfinite(found).sum(axis=1) >= _MIN_SHIFTS
    if not enough.any():
        return None
    curve = mean_curve(found[enough])
    lowest = int(np.nanargmin(curve))
    refined = float(lowest - MAX_SHIFT)
    if 0 < lowest < len(curve) - 1 and np.isfinite(curve[[lowest - 1, lowest + 1]]).all():
        before, at, after = curve[lowest - 1 : lowest + 2].tolist()
        bend = before - 2 * at + after
        refined += 0.5 * (before - after) / bend if bend > 0 else 0.0
    smallest = float(curve[lowest])
    return Reading(
        offset_ms=refined * _FRAME_MS,
        confidence=float(np.nanmedian(curve)) - smallest,
        distance=smallest,
        curve=tuple(curve.tolist()),
    )


def slope_ms_per_min(times_s: NDArray[np.float64], offsets_ms: NDArray[np.float64]) -> float | None:
    """The drift of offsets over time: Theil and Sen's slope, the median over all pairs, which no outlier moves far.

    Args:
        times_s: (N,).
        offsets_ms: (N,).
    Returns:
        Milliseconds a minute; None of fewer than three.
    """
    if len(times_s) < 3:
        return None
    first, second = np.triu_indices(len(times_s), k=1)
    apart_s = times_s[second] - times_s[first]
    return float(np.median((offsets_ms[second] - offsets_ms[first])[apart_s != 0] / apart_s[apart_s != 0]) * 60)
