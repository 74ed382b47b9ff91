"""Square crops of face boxes, in marlin-pytorch's convention."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["crop_square", "fit_frame", "square_box"]


def square_box(box: NDArray[np.floating]) -> NDArray[np.int64]:
    """The square crop region of a face box.

    As in marlin-pytorch: c = int((x1 + x2) / 2) on each axis, m = int(max(w, h) / 2), square [c - m, c + m); but at
    least two pixels wide.

    Args:
        box: (4,) xyxy in pixels.
    Returns:
        int64 (4,), xyxy, half-open; it may extend beyond the frame.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    half = max(1, int(max(x2 - x1, y2 - y1) / 2))
    x, y = int((x1 + x2) / 2), int((y1 + y2) / 2)
    return np.array([x - half, y - half, x + half, y + half], dtype=np.int64)


def crop_square(frame: NDArray[np.uint8], square: NDArray[np.int64], size_px: int) -> NDArray[np.uint8]:
    """Crop a square from a frame, black beyond the frame's border, and resize it bilinearly.

    Args:
        frame: uint8 (H, W, 3).
        square: (4,) xyxy, half-open, from `square_box`.
        size_px: side of the result.
    Returns:
        uint8 (size_px, size_px, 3).
    """
    import cv2

    height, width = frame.shape[:2]
    x1, y1, x2, y2 = (int(value) for value in square)
    inside = frame[max(y1, 0) : max(min(y2, height), 0), max(x1, 0) : max(min(x2, width), 0)]
    if inside.shape[:2] != (y2 - y1, x2 - x1):
        padded = np.zeros((y2 - y1, x2 - x1, 3), dtype=np.uint8)
        if inside.size:
            top, left = max(-y1, 0), max(-x1, 0)
            padded[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        inside = padded
    return np.asarray(cv2.resize(inside, (size_px, size_px), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def fit_frame(frame: NDArray[np.uint8], long_side_px: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Scale a frame to a long side, at most 2x up.

    Args:
        frame: uint8 (H, W, 3).
        long_side_px: of the result.
    Returns:
        The scaled frame, and float32 (2,), the factors (x, y) back to the frame's pixels.
    """
    import cv2

    height, width = frame.shape[:2]
    scale = min(2.0, long_side_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = frame if size == (width, height) else cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(small, dtype=np.uint8), np.array([width / size[0], height / size[1]], dtype=np.float32)
