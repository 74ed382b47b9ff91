"""Detectors that do harm in a worker process. Free of torch and of pytest, so that workers start fast."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.face.detections import Detections

HARM = (0, 0, 255)
"""The colour of the corner of a frame at which harm is done."""
FACE = (8, 8, 40, 40)
"""Where a face is found, in any frame."""


@dataclass
class Harmful:
    """Finds the same face in every frame; does harm, if any, at a frame whose corner is blue.

    Args:
        folder: where it leaves a file "looks", a byte for each look, and "tries", a byte for each harm.
        harm: "abort", "abort once", "hang", "eat", "reset", "slow" or "".
    """

    folder: Path
    harm: str = ""
    name = "harmful"

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [self._one(frame) for frame in frames]

    def _one(self, frame: NDArray[np.uint8]) -> Detections:
        count(self.folder / "looks")
        red, green, blue = frame[:8, :8].mean(axis=(0, 1))
        if self.harm and blue > 150 and red < 100 and green < 100:
            self._do_harm(count(self.folder / "tries"))
        return Detections.from_rows([FACE], [0.9])

    def _do_harm(self, tries: int) -> None:
        if self.harm == "abort" or (self.harm == "abort once" and tries == 1):
            os.abort()
        if self.harm == "hang":
            time.sleep(100_000)
        if self.harm == "slow":
            time.sleep(0.75)
        if self.harm == "reset":
            raise ConnectionResetError("the camera has hung up")
        if self.harm == "eat":
            eaten = []
            while True:
                eaten.append(np.ones(8 << 20))  # 64 MB
                time.sleep(0.05)


def count(file: Path) -> int:
    """Make a file longer by a byte, which no two processes do at once; its size then."""
    descriptor = os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    try:
        os.write(descriptor, b".")
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
