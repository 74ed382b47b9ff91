"""Face parts drawn from landmarks and average face proportions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ShapeError, WeightsError
from marlin_sdk.face.detections import FaceDetector, detect_one
from marlin_sdk.face.regions.labels import LABELS, FaceCrops
from marlin_sdk.weights.downloads import Asset

__all__ = ["FAN", "FivePointParser", "SixtyEightPointParser", "draw_face", "draw_outlines"]

FAN = Asset(
    "2DFAN4-11f355bf06.pth.tar",
    "https://www.adrianbulat.com/downloads/python-fan/2DFAN4-11f355bf06.pth.tar",
    sha256="11f355bf06",
    by_hand='pass parser="landmarks68:path/to/2DFAN4-11f355bf06.pth.tar"',
)
"""face-alignment's 68-landmark network, at the address from which face-alignment itself downloads it."""

# Right eye, left eye, nose tip, corners of the mouth in a square crop, as fractions of its side: the mean over 77 faces
# of five real videos, YuNet's landmarks in the crops of YuNet's own boxes, and in those of the LBP cascade's.
_MEAN_POINTS = np.array([[0.34, 0.38], [0.69, 0.38], [0.52, 0.58], [0.37, 0.73], [0.66, 0.73]])
_MEAN_POINTS_LBP = np.array([[0.32, 0.38], [0.69, 0.38], [0.51, 0.60], [0.34, 0.76], [0.66, 0.76]])

# In units of the face: x in interpupillary distances (about 63 mm in adults), y in distances from eyes to mouth (about
# 70 mm). Chosen by eye on the faces of examples/show_regions.py; not measured against a parser.
_EYE = (0.29, 0.14)
_BROW = (0.38, 0.09)
_BROW_ABOVE_EYE = 0.29
_NOSE_HALF_WIDTH = 0.31
_FACE_HALF_WIDTH = 1.18
_CHIN_BELOW_EYES, _HAIRLINE_ABOVE_EYES, _CROWN_ABOVE_EYES = 1.70, 0.98, 1.65
_HAIR_HALF_WIDTH = 1.40


class FivePointParser:
    """Regions from the five landmarks of a detector that has them, such as YuNet; needs no further download.

    Detection runs on every few crops; landmarks in between are interpolated. If it finds no face, or has no landmarks
    ("lbp"), the mean landmarks of a face crop are used.

    Args:
        detector: run on the crops.
        every: crops from one detection to the next.
    """

    name = "landmarks"

    def __init__(self, detector: FaceDetector, *, every: int = 4) -> None:
        self._detector = detector
        self._every = every
        self._mean = _MEAN_POINTS_LBP if detector.name == "lbp" else _MEAN_POINTS
        self._has_points = detector.name != "lbp"

    def parse(self, crops: FaceCrops) -> NDArray[np.uint8]:
        """See `RegionParser.parse`."""
        size_px = crops.pixels.shape[1]
        return np.stack([draw_face(points, size_px) for points in self.points(crops)])

    def points(self, crops: FaceCrops) -> NDArray[np.float64]:
        """Right eye, left eye, nose tip, right and left corner of the mouth: float64 (T, 5, 2), xy in pixels."""
        size_px, last = crops.pixels.shape[1], len(crops) - 1
        detected: dict[int, NDArray[np.float64]] = {}
        for step in sorted({*range(0, last + 1, self._every), last}) if self._has_points else []:
            found = detect_one(self._detector, crops.pixels[step])
            middle = np.array([size_px / 2, size_px / 2])
            distances = np.array([np.abs((box[:2] + box[2:]) / 2 - middle).max() for box in found.boxes])
            points = found.landmarks[int(distances.argmin())] if len(distances) else np.full((5, 2), np.nan)
            if np.isfinite(points).all() and distances.min() < size_px / 4:
                detected[step] = points.astype(np.float64)
        if not detected:
            return np.tile(self._mean * size_px, (len(crops), 1, 1))
        rows = np.stack(list(detected.values())).reshape(len(detected), 10)
        steps = np.arange(len(crops))
        columns = [np.interp(steps, list(detected), column) for column in rows.T]
        return np.asarray(np.stack(columns, axis=1).reshape(-1, 5, 2), dtype=np.float64)


class SixtyEightPointParser:
    """Regions from face-alignment's 68 landmarks, which outline brows, eyes, nose, lips and jaw.

    Args:
        weights: the file of `FAN`.
        device: torch device it runs on.
    Raises:
        WeightsError: the file does not hold that network's weights.
    """

    name = "landmarks68"

    def __init__(self, weights: Path, *, device: str = "cpu") -> None:
        import torch
        from face_alignment import models

        self._device = device
        self._network = models.FAN(4)
        try:
            state = torch.load(weights, map_location="cpu", weights_only=True)
            self._network.load_state_dict(state)
        except Exception as error:  # torch raises many types of error for an invalid file
            raise WeightsError(f"{weights} does not hold face-alignment's 2DFAN-4 network: {error}") from error
        self._network.eval().to(device)

    def parse(self, crops: FaceCrops) -> NDArray[np.uint8]:
        """See `RegionParser.parse`."""
        return np.stack([draw_outlines(self._points(crop), crop.shape[0]) for crop in crops.pixels])

    def _points(self, crop: NDArray[np.uint8]) -> NDArray[np.float64]:
        """The network's 68 landmarks: float64 (68, 2), xy in pixels of the crop."""
        import cv2
        import torch

        # The network was trained on crops about twice as wide as the face.
        margin = crop.shape[0] * 2 // 5
        wide = cv2.copyMakeBorder(crop, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        small = cv2.resize(wide, (256, 256), interpolation=cv2.INTER_AREA)
        pixels = torch.from_numpy(small).to(self._device).permute(2, 0, 1).float().div(255)
        with torch.no_grad():
            output: Any = self._network(pixels[None])
        heatmaps = (output[-1] if isinstance(output, list) else output)[0].cpu().numpy()
        peaks = heatmaps.reshape(68, -1).argmax(axis=1)
        cells = np.stack([peaks % heatmaps.shape[2], peaks // heatmaps.shape[2]], axis=1)
        return np.asarray((cells + 0.5) * wide.shape[0] / heatmaps.shape[2] - margin, dtype=np.float64)


def draw_face(points: NDArray[np.float64], size_px: int) -> NDArray[np.uint8]:
    """Draw a label map from five landmarks and average face proportions.

    Args:
        points: (5, 2), xy in pixels: right eye, left eye, nose tip, right and left corner of the mouth.
        size_px: side of the map.
    Returns:
        uint8 (size_px, size_px), indices into `LABELS`.
    Raises:
        ShapeError: points of another shape.
    """
    if points.shape != (5, 2) or not np.isfinite(points).all():
        raise ShapeError(f"a face has five finite points (5, 2); got {points.tolist()}")
    right_eye, left_eye, nose, right_mouth, left_mouth = points.astype(np.float64)
    eyes, mouth = (right_eye + left_eye) / 2, (right_mouth + left_mouth) / 2
    down, high = _direction(mouth - eyes)
    # If the head is turned aside, the eyes move together in the image, but the outline narrows by a third at most.
    wide = max(float(np.linalg.norm(left_eye - right_eye)), 0.6 * high)
    across = np.array([down[1], -down[0]])
    if across @ (left_eye - right_eye) < 0:
        across = -across
    # If the head is turned, the nose tip moves to the side of the turn; the outline, farther back, to the other side.
    turn = float(across @ (nose - (eyes + mouth) / 2))
    middle = eyes - 0.5 * turn * across

    def at(x: float, y: float) -> NDArray[np.float64]:
        """A point in face coordinates: x in units of `wide` from the midline, y in units of `high` below the eyes."""
        return np.asarray(middle + x * wide * across + y * high * down, dtype=np.float64)

    labels = np.zeros((size_px, size_px), dtype=np.uint8)
    crown = [at(x, y) for x, y in _arc(_HAIR_HALF_WIDTH, _CROWN_ABOVE_EYES, 0.1, 0.75)]
    _fill(labels, crown, "hair")
    skin = [at(x, y) for x, y in _arc(_FACE_HALF_WIDTH, _HAIRLINE_ABOVE_EYES, 0.0, 0.0)]
    skin += [at(-x, -y) for x, y in _arc(_FACE_HALF_WIDTH, _CHIN_BELOW_EYES, 0.0, 0.0)]
    _fill(labels, skin, "skin")
    ridge = (right_eye + left_eye) / 2
    side = _NOSE_HALF_WIDTH * wide * across
    below = nose + 0.16 * high * down
    wings = [nose + side, below + 0.7 * side, below - 0.7 * side, nose - side]
    _fill(labels, [ridge - 0.4 * side, ridge + 0.4 * side, *wings], "nose")
    half_mouth = (left_mouth - right_mouth) / 2 * 1.12
    lip = 0.17 * high * down
    _fill(labels, _ellipse(mouth - 0.3 * lip, half_mouth, lip), "upper_lip")
    lower = ((-1, 0), (1, 0), (0.6, 0.9), (0, 1.25), (-0.6, 0.9))
    _fill(labels, [mouth + x * half_mouth + y * lip for x, y in lower], "lower_lip")
    for eye, name in ((right_eye, "right"), (left_eye, "left")):
        brow = eye - _BROW_ABOVE_EYE * high * down
        _fill(labels, _ellipse(brow, _BROW[0] * wide * across, _BROW[1] * high * down), f"{name}_brow")
        _fill(labels, _ellipse(eye, _EYE[0] * wide * across, _EYE[1] * high * down), f"{name}_eye")
    return labels


def draw_outlines(points: NDArray[np.float64], size_px: int) -> NDArray[np.uint8]:
    """Draw a label map from the 68 landmarks of the iBUG scheme (Sagonas et al., ICCV 2013 workshops).

    Args:
        points: (68, 2), xy in pixels.
        size_px: side of the map.
    Returns:
        uint8 (size_px, size_px), indices into `LABELS`.
    """
    jaw, brows, eyes = points[0:17], (points[17:22], points[22:27]), (points[36:42], points[42:48])
    centres = [eye.mean(axis=0) for eye in eyes]
    mouth = points[48:60].mean(axis=0)
    five = np.stack([*centres, points[30], points[48], points[54]])
    labels = draw_face(five, size_px)
    labels[(labels != LABELS.index("hair")) & (labels != 0)] = LABELS.index("skin")
    up = (centres[0] + centres[1]) / 2 - mouth
    # The scheme has no landmarks above the brows: the forehead gets average proportions.
    forehead = [point + 0.6 * up for point in (brows[1][3], brows[1][1], brows[0][3], brows[0][1])]
    _fill(labels, [*jaw, *forehead], "skin")
    nostril = 0.25 * (points[35] - points[31])
    wings = [points[35] + nostril, points[33], points[31] - nostril]
    _fill(labels, [points[27] - nostril, points[27] + nostril, *wings], "nose")
    _fill(labels, points[48:60], "upper_lip")
    _fill(labels, [*points[54:60], points[48], *points[60:65]], "lower_lip")
    _fill(labels, points[60:68], "inner_mouth")
    for index, name in enumerate(("right", "left")):
        _fill(labels, [*brows[index], *(brows[index][::-1] - 0.12 * up)], f"{name}_brow")
        _fill(labels, centres[index] + 1.25 * (eyes[index] - centres[index]), f"{name}_eye")
    return labels


def _direction(vector: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    length = float(np.linalg.norm(vector))
    return (vector / length, length) if length > 1 else (np.array([0.0, 1.0]), 1.0)


def _arc(half_width: float, height: float, low: float, below: float) -> Iterable[tuple[float, float]]:
    """The upper half of an ellipse around the eyes, from right to left; its ends extend downwards to `below`."""
    angles = np.linspace(np.pi, 0, 25)
    ends = [(-half_width, below)] if below else []
    middle = [(half_width * np.cos(angle), low - (height + low) * np.sin(angle)) for angle in angles]
    return [*ends, *middle, *[(-x, y) for x, y in ends]]


def _ellipse(
    centre: NDArray[np.float64], across: NDArray[np.float64], down: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    return [centre + np.cos(angle) * across + np.sin(angle) * down for angle in np.linspace(0, 2 * np.pi, 24, False)]


def _fill(labels: NDArray[np.uint8], outline: Any, label: str) -> None:
    import cv2

    corners = np.round(np.asarray(outline, dtype=np.float64) * 16).astype(np.int32)  # four fractional bits
    cv2.fillPoly(labels, [corners], LABELS.index(label), shift=4)
