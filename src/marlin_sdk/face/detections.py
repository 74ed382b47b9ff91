"""The interface of a face detector: RGB frames in; boxes, scores and five landmarks out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError

__all__ = ["Detections", "FaceDetector", "detect_one"]


@dataclass(frozen=True)
class Detections:
    """The faces of one frame, best score first.

    Attributes:
        boxes: float32 (n, 4), xyxy in pixels of the frame.
        scores: float32 (n,), in [0, 1].
        landmarks: float32 (n, 5, 2), xy pixels of right eye, left eye, nose tip, right and left corner of the mouth
            (the person's right); NaN from a detector without landmarks.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    @classmethod
    def from_rows(cls, boxes: Any, scores: Any, landmarks: Any = None) -> Detections:
        """Sort and reshape the output of a detector; no rows give an empty result."""
        boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
        scores = np.asarray(scores, dtype=np.float32).reshape(-1)
        if landmarks is None:
            landmarks = np.full((len(boxes), 5, 2), np.nan)
        landmarks = np.asarray(landmarks, dtype=np.float32).reshape(-1, 5, 2)
        order = np.argsort(-scores, kind="stable")
        return cls(boxes[order], scores[order], landmarks[order])

    def __len__(self) -> int:
        return len(self.scores)


@runtime_checkable
class FaceDetector(Protocol):
    """Protocol of a face detector; pass your own as `detector=`."""

    @property
    def name(self) -> str:
        """Its name in the metadata of features."""

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detect faces.

        Args:
            frames: uint8 (H, W, 3) RGB arrays; sizes may differ.
        Returns:
            One `Detections` for each frame, in order, in that frame's pixels.
        """


def detect_one(detector: FaceDetector, frame: NDArray[np.uint8]) -> Detections:
    """Detect the faces of one frame, and validate the detector's output.

    Args:
        detector: any object that implements the protocol.
        frame: uint8 (H, W, 3), RGB.
    Raises:
        ConfigError: the detector did not return one `Detections` with valid boxes and a score for each.
    """
    result: Any = detector.detect([frame])
    if not isinstance(result, Sequence) or len(result) != 1 or not isinstance(result[0], Detections):
        raise ConfigError(
            f"detector {detector.name!r} returned {result!r}; expected a list of one Detections for one frame"
        )
    found: Detections = result[0]
    boxes, scores = found.boxes, found.scores
    if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.shape != (len(boxes),):
        raise ConfigError(
            f"detector {detector.name!r} returned boxes {boxes.shape} and scores {scores.shape}; "
            "expected (n, 4) and (n,)"
        )
    if not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise ConfigError(
            f"detector {detector.name!r} returned a box that is not finite xyxy with x1 < x2 and y1 < y2: "
            f"{boxes.tolist()}"
        )
    if not ((scores >= 0) & (scores <= 1)).all():  # rejects NaN too
        raise ConfigError(f"detector {detector.name!r} returned a score outside [0, 1]: {scores.tolist()}")
    return found
