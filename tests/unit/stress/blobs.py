"""Videos of a bright, textured square, and a detector that finds it: quick, and exact where it is seen at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk import Detections

SIDE = 40


class BlobDetector:
    """Finds what is brighter than a threshold."""

    name = "blob"

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [self._one(frame) for frame in frames]

    def _one(self, frame: NDArray[np.uint8]) -> Detections:
        rows, columns = np.nonzero(frame.mean(axis=2) > 140)
        if not len(rows):
            return Detections.from_rows([], [])
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return Detections.from_rows([box], [0.9])


def blob_video(count: int = 64, *, step: int = 1, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 (T, 120, 160, 3): a warm square that moves to the right by `step` pixels a frame, and flickers a little."""
    random = np.random.default_rng(seed)
    texture = random.integers(-15, 15, (SIDE, SIDE, 1))
    frames: NDArray[Any] = np.full((count, 120, 160, 3), 15)
    for index in range(count):
        left = 20 + step * index % 90
        colour = np.array([205, 170, 140]) + int(random.integers(-10, 10))
        frames[index, 40 : 40 + SIDE, left : left + SIDE] = np.clip(colour + texture, 0, 255)
    return frames.astype(np.uint8)
