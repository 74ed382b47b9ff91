"""Paste made faces back into frames, with a soft edge, and mark the frames as synthetic."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.lipsync.network import first_made_row

__all__ = ["draw_mark", "paste_face", "soft_edge"]

_EDGE = 0.12  # of the side, over which a made face fades in
_MARK = "synthetic"


@cache
def soft_edge(size_px: int) -> NDArray[np.float32]:
    """How much of a made face is shown: 0 in the half that is not made and at the border, 1 well inside.

    Args:
        size_px: side of the face.
    Returns:
        float32 (size_px, size_px).
    """
    middle = np.arange(size_px) + 0.5
    ramp = _EDGE * size_px
    across = np.minimum(middle, size_px - middle) / ramp
    down = np.minimum(middle - first_made_row(size_px), size_px - middle) / ramp
    shares = np.clip(np.minimum(down[:, None], across[None]), 0, 1)
    smooth: NDArray[np.float32] = (shares * shares * (3 - 2 * shares)).astype(np.float32)
    return smooth


def paste_face(frame: NDArray[np.uint8], face: NDArray[np.uint8], square: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A frame with a made face.

    Args:
        frame: uint8 (H, W, 3); it is not changed.
        face: uint8 (S, S, 3).
        square: (4,) xyxy, half-open, where the face was cropped; parts beyond the frame are left out.
    """
    import cv2

    x1, y1, x2, y2 = (int(value) for value in square)
    size = (x2 - x1, y2 - y1)
    shares = cv2.resize(soft_edge(len(face)), size, interpolation=cv2.INTER_LINEAR)[..., None]
    scaled = cv2.resize(face, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    height, width = frame.shape[:2]
    top, bottom, left, right = max(y1, 0), min(y2, height), max(x1, 0), min(x2, width)
    pasted: NDArray[np.uint8] = frame.copy()
    if top >= bottom or left >= right:
        return pasted
    inside = slice(top - y1, bottom - y1), slice(left - x1, right - x1)
    under = frame[top:bottom, left:right].astype(np.float32)
    mixed = under + shares[inside] * (scaled[inside] - under)
    pasted[top:bottom, left:right] = np.clip(mixed.round(), 0, 255).astype(np.uint8)
    return pasted


def draw_mark(frame: NDArray[np.uint8]) -> None:
    """Write "synthetic" into the lower left corner of a frame, in place."""
    import cv2

    height, width = frame.shape[:2]
    scale = max(0.35, min(height, width) / 900)
    thickness = max(1, round(scale * 1.5))
    (wide, high), below = cv2.getTextSize(_MARK, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    pad = max(2, round(4 * scale))
    corner = height - high - below - 3 * pad
    cv2.rectangle(frame, (pad, corner), (wide + 3 * pad, height - pad), (0, 0, 0), cv2.FILLED)
    cv2.putText(
        frame, _MARK, (2 * pad, height - below - pad), cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), thickness,
        cv2.LINE_AA,
    )  # fmt: skip
