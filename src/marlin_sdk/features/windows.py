"""Windows of a video: where a row comes from, its feature, and windows that have none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FaceWindow", "SkippedWindow", "WindowFeatures"]


@dataclass(frozen=True, kw_only=True)
class FaceWindow:
    """Where a row comes from: a face in a window of 16 frames.

    Attributes:
        start_s: time of the first frame of the window, in seconds from the start of the video.
        end_s: time at which its last real frame ends.
        frame_index: int64 (16,), the source frame of each step, counted from 0.
        frame_valid: bool (16,), False where a step repeats a neighbour: the video has ended, or the face is absent.
        boxes: float32 (16, 4), the square cropped from each frame, xyxy in source pixels; may extend beyond the frame.
        face_score: float32 (16,), the detector's score in [0, 1]; 0 if no face was found, NaN if none was searched for.
        track_id: face track in the video, -1 if nothing was cropped.
    """

    start_s: float
    end_s: float
    frame_index: NDArray[np.int64]
    frame_valid: NDArray[np.bool_]
    boxes: NDArray[np.float32]
    face_score: NDArray[np.float32]
    track_id: int


@dataclass(frozen=True, kw_only=True)
class WindowFeatures(FaceWindow):
    """One row, with its feature.

    Attributes:
        feature: float32 (D,); (8, D) of `pool="time"`, (4, D) of "regions", (1568, D) with `keep_seq`.
    """

    feature: NDArray[np.float32]


@dataclass(frozen=True)
class SkippedWindow:
    """A window that was not embedded.

    Attributes:
        start_s: its start, in seconds.
        end_s: its end, in seconds.
        reason: why it was skipped.
    """

    start_s: float
    end_s: float
    reason: str
