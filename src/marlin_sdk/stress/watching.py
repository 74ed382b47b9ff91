"""A model that is watched: the faces that its detector finds in each frame, and the features that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.config import ExtractionConfig
from marlin_sdk.errors import NoFaceError
from marlin_sdk.evaluation.audit.detection import box_jitter
from marlin_sdk.face.boxes import box_overlaps
from marlin_sdk.face.cropping import crop_square
from marlin_sdk.face.detections import Detections, FaceDetector
from marlin_sdk.features import VideoFeatures
from marlin_sdk.marlin import Marlin
from marlin_sdk.stress.frames import Frames
from marlin_sdk.video.sources import ASSUMED_FPS

__all__ = ["Seen", "crops_of", "embed_crops", "found_again", "main_faces", "watch"]

SAME_FACE = 0.5
_BATCH = 8


@dataclass(frozen=True, eq=False)
class Seen:
    """What a model sees in some frames.

    Attributes:
        found: the faces of each frame.
        features: those of the main face; None if no window shows one.
    """

    found: tuple[Detections, ...]
    features: VideoFeatures | None


class _Recorder:
    """A detector that remembers what another one finds."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self.found: list[Detections] = []

    @property
    def name(self) -> str:
        return self._detector.name

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        found = self._detector.detect(frames)
        self.found += found
        return found


def watch(model: Marlin, frames: Frames, rgb: NDArray[np.uint8], settings: ExtractionConfig) -> Seen:
    """Embed frames, and search for faces in each of them.

    Args:
        model: the model.
        frames: where they come from.
        rgb: uint8 (T, H, W, 3), those frames or spoilt ones.
        settings: of the extraction.
    """
    recorder = _Recorder(model.detector)
    is_watched = settings.detect_every == 1 and settings.pool != "regions"  # each frame is searched once, in order
    try:
        features = (model.with_detector(recorder) if is_watched else model).extract(
            rgb, **replace(settings, source_fps=frames.fps, sample_rate=1, fps=None, crop_face=True).to_dict()
        )
    except NoFaceError:
        features = None
    if not is_watched:
        for at in range(0, len(rgb), _BATCH):
            recorder.detect(list(rgb[at : at + _BATCH]))
    return Seen(tuple(recorder.found), features)


def main_faces(found: Sequence[Detections], features: VideoFeatures) -> NDArray[np.float64]:
    """The detection in each frame that is the face of the features.

    Args:
        found: the faces of each frame.
        features: of those frames.
    Returns:
        float64 (T, 4), NaN where it was not found.
    """
    boxes = np.full((len(found), 4), np.nan)
    shown = features.frame_valid & (features.face_score > 0)
    for at, tracked in zip(features.frame_index[shown].tolist(), features.boxes[shown], strict=True):
        if len(found[at]):
            overlaps = box_overlaps(tracked[None].astype(np.float64), found[at].boxes.astype(np.float64))[0]
            if overlaps.max() > 0:
                boxes[at] = found[at].boxes[int(np.argmax(overlaps))]
    return boxes


def found_again(expected: NDArray[np.float64], found: Sequence[Detections]) -> tuple[float, float]:
    """How often a face is found again, and how its box trembles.

    Args:
        expected: (T, 4), where it is; NaN in frames without one.
        found: the faces of each frame.
    Returns:
        The share of the frames with a face in which one overlaps it by at least a half; and the mean step of the
        centre between consecutive frames, as a share of the box's size. NaN where undefined.
    """
    boxes = np.full_like(expected, np.nan)
    for at, faces in enumerate(found):
        if len(faces) and not np.isnan(expected[at]).any():
            overlaps = box_overlaps(expected[at : at + 1], faces.boxes.astype(np.float64))[0]
            best = int(np.argmax(overlaps))
            if overlaps[best] >= SAME_FACE:
                boxes[at] = faces.boxes[best]
    there, again = (np.isfinite(own[:, 0]) for own in (expected, boxes))
    recall = float(again[there].mean()) if there.any() else float("nan")
    return recall, box_jitter(np.nan_to_num(boxes), again)


def crops_of(
    rgb: NDArray[np.uint8], frame_index: NDArray[np.int64], squares: NDArray[np.floating], size_px: int
) -> NDArray[np.uint8]:
    """The crops of windows: uint8 (N, 16, S, S, 3).

    Args:
        rgb: uint8 (T, H, W, 3).
        frame_index: (N, 16), the frame of each step.
        squares: (N, 16, 4), xyxy.
        size_px: side of a crop.
    """
    whole = np.round(squares).astype(np.int64)
    return np.stack(
        [
            np.stack([crop_square(rgb[at], square, size_px) for at, square in zip(steps, boxes, strict=True)])
            for steps, boxes in zip(frame_index, whole, strict=True)
        ]
    )


def embed_crops(model: Marlin, crops: NDArray[np.uint8], settings: ExtractionConfig) -> NDArray[np.float32]:
    """float32 (N, D), or (N, 8, D) with `pool="time"`: the features of the crops of windows."""
    film = crops.reshape(-1, *crops.shape[2:])
    given = replace(
        settings,
        source_fps=ASSUMED_FPS,
        sample_rate=1,
        fps=None,
        crop_face=False,
        stride=crops.shape[1],
        faces="largest",
    )
    return model.extract(film, **given.to_dict()).features
