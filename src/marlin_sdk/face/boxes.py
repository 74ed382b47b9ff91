"""Box arithmetic shared by detection and tracking."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["box_overlaps"]


def box_overlaps(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pairwise intersection over union of two sets of boxes.

    Args:
        first: (n, 4), xyxy.
        second: (m, 4), xyxy.
    Returns:
        float64 (n, m), in [0, 1].
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - inside
    return np.asarray(inside / np.maximum(union, np.finfo(np.float64).tiny), dtype=np.float64)
