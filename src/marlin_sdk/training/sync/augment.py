"""Changes of face windows and sounds that change nothing about their time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["augment_sound", "augment_windows"]

_MOVE = 0.06  # share of the side
_ZOOM = 0.06
_GAIN, _TINT, _SHIFT = 0.3, 0.15, 0.15
_LEVEL = 0.3  # of a log-mel value: 6 dB
_NOISE = 0.1
_MASKED_STEPS = 16


def augment_windows(windows: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror, move, zoom and relight the windows of a face, all frames of a window alike.

    Args:
        windows: uint8 (W, T, S, S, 3).
        rng: the source of randomness.
    """
    import cv2

    side = windows.shape[2]
    changed = np.empty_like(windows)
    for index, window in enumerate(windows):
        zoom = 1 + rng.uniform(-_ZOOM, _ZOOM)
        move = rng.uniform(-_MOVE, _MOVE, 2) * side + (1 - zoom) * side / 2
        matrix = np.array([[zoom, 0, move[0]], [0, zoom, move[1]]])
        if rng.random() < 0.5:
            matrix = matrix @ np.array([[-1, 0, side - 1], [0, 1, 0], [0, 0, 1]])
        scale = (1 + rng.uniform(-_GAIN, _GAIN)) * (1 + rng.uniform(-_TINT, _TINT, 3))
        shift = 255 * rng.uniform(-_SHIFT, _SHIFT)
        table = np.clip(np.arange(256)[:, None] * scale + shift, 0, 255).astype(np.uint8)
        for time, frame in enumerate(window):
            moved = cv2.warpAffine(frame, matrix, (side, side), borderMode=cv2.BORDER_REPLICATE)
            for channel in range(3):
                changed[index, time, ..., channel] = table[moved[..., channel], channel]
    return changed


def augment_sound(log_mel: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change the level of a sound, add noise, and hide a fifth of a second.

    Args:
        log_mel: float32 (T, 80).
        rng: the source of randomness.
    """
    noise = _NOISE * rng.standard_normal(log_mel.shape, dtype=np.float32)
    changed: NDArray[np.float32] = log_mel + np.float32(rng.uniform(-_LEVEL, _LEVEL)) + noise
    first = int(rng.integers(max(1, len(changed) - _MASKED_STEPS)))
    changed[first : first + int(rng.integers(_MASKED_STEPS + 1))] = changed.mean()
    return changed
