"""The regions of the face in a clip, by the landmarks of the detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.face.detections import Detections, FaceDetector, detect_one
from marlin_sdk.face.detectors import check_landmarks
from marlin_sdk.face.regions.labels import FaceCrops
from marlin_sdk.face.regions.landmarks import FivePointParser
from marlin_sdk.face.regions.tokens import region_tokens

__all__ = ["RegionFinder"]


class RegionFinder:
    """Finds the tokens of each region, from the landmarks of each slice's first frame.

    Args:
        detector: gives the landmarks of tracked faces, or is run on clips that were cropped already.
        model: defines the grid of tokens.
    Raises:
        ConfigError: a built-in detector without landmarks.
    """

    def __init__(self, detector: FaceDetector, model: ModelConfig) -> None:
        check_landmarks(detector, "pool='regions'")
        self.detector = detector
        self._model = model
        self._parser = FivePointParser(_WithLandmarks(detector))

    def find(
        self,
        pixels: NDArray[np.uint8],
        squares: NDArray[np.int64],
        landmarks: Sequence[NDArray[np.float64] | None],
    ) -> NDArray[np.uint8]:
        """Which regions each token of a clip belongs to.

        Args:
            pixels: uint8 (16, 224, 224, 3), the clip.
            squares: int64 (16, 4), xyxy, cropped from each frame.
            landmarks: of each frame, (5, 2) in its pixels; None in frames that were cropped already. There the detector
                is run on some frames of the clip; if it finds no face in any, the mean landmarks of a crop are used, as
                for `Marlin.reconstruct`.
        Returns:
            uint8 (8, 14, 14), see `region_tokens`.
        Raises:
            ConfigError: the detector gives no landmarks.
        """
        size_px = self._model.img_size
        known = [points for points in landmarks if points is not None]
        if len(known) < len(landmarks):
            crops = FaceCrops(pixels, np.arange(len(pixels)), squares, (size_px, size_px), "clip")
            in_crop = self._parser.points(crops)
        else:
            corners = squares[:, None, :2]
            in_crop = (np.stack(known) - corners) * (size_px / (squares[:, 2] - squares[:, 0]))[:, None, None]
        if not np.isfinite(in_crop).all():
            raise _no_landmarks(self.detector)
        return region_tokens(in_crop[:: self._model.tubelet_size], size_px, self._model.patch_size)


class _WithLandmarks:
    """A detector whose faces must have landmarks: `FivePointParser` would take the mean ones."""

    def __init__(self, detector: FaceDetector) -> None:
        self._detector = detector
        self.name = detector.name

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        found = [detect_one(self._detector, frame) for frame in frames]
        if not all(
            np.shape(faces.landmarks) == (len(faces), 5, 2) and np.isfinite(faces.landmarks).all() for faces in found
        ):
            raise _no_landmarks(self._detector)
        return found


def _no_landmarks(detector: FaceDetector) -> ConfigError:
    return ConfigError(
        f"detector {detector.name!r} returned a face without landmarks, which pool='regions' needs; return finite "
        "landmarks (n, 5, 2) with each face, or use detector='yunet'"
    )
