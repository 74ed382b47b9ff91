"""Small ways to spoil a picture, each with a strength whose zero changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CROP_OFFSET",
    "OCCLUSION",
    "PERTURBATIONS",
    "ROTATION",
    "Perturbation",
    "blur",
    "change_contrast",
    "change_gamma",
    "compress",
    "occlude",
    "rescale",
    "rotate",
    "rotate_boxes",
    "shift_squares",
]

Pixels = NDArray[np.uint8]
ROTATION, CROP_OFFSET, OCCLUSION = "rotation", "crop offset", "occlusion"
_GREY = 127


@dataclass(frozen=True)
class Perturbation:
    """A way to spoil a picture.

    Attributes:
        name: its name.
        unit: what its strength counts.
        strengths: those measured, beside 0.
        spoil: makes a frame (H, W, 3) worse by a strength, given the face's box (4,) in it; None for those that act on
            the crop: `shift_squares` and `occlude`.
    """

    name: str
    unit: str
    strengths: tuple[float, ...]
    spoil: Callable[[Pixels, float, NDArray[np.float64]], Pixels] | None = None


def change_gamma(frame: Pixels, stops: float) -> Pixels:
    """Raise the values to 2 ** stops: above 0 is darker, below brighter."""
    levels = np.round(255 * (np.arange(256) / 255) ** (2.0**stops))
    return np.asarray(levels.astype(np.uint8)[frame])


def change_contrast(frame: Pixels, lost: float) -> Pixels:
    """Draw the values nearer to their mean, by a share in [0, 1]."""
    mean = float(frame.mean())
    levels = np.clip(np.round(mean + (1 - lost) * (np.arange(256) - mean)), 0, 255)
    return np.asarray(levels.astype(np.uint8)[frame])


def blur(frame: Pixels, sigma_px: float) -> Pixels:
    """Gaussian blur."""
    import cv2

    if sigma_px <= 0:
        return frame
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), sigmaX=sigma_px), np.uint8)


def compress(frame: Pixels, lost: float) -> Pixels:
    """Encode as JPEG of the quality 100 - lost, and decode; 0 leaves the frame as it is."""
    import cv2

    if lost <= 0:
        return frame
    options = [cv2.IMWRITE_JPEG_QUALITY, round(100 - lost)]
    _, data = cv2.imencode(".jpg", np.ascontiguousarray(frame[..., ::-1]), options)
    decoded: Any = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.ascontiguousarray(decoded[..., ::-1])


def rescale(frame: Pixels, halvings: float) -> Pixels:
    """Scale down by 2 ** halvings, and up to the size that it had."""
    import cv2

    if halvings <= 0:
        return frame
    height, width = frame.shape[:2]
    small = (max(1, round(width / 2**halvings)), max(1, round(height / 2**halvings)))
    down = cv2.resize(frame, small, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(down, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def rotate(frame: Pixels, degrees: float, centre: NDArray[np.floating]) -> Pixels:
    """Rotate counterclockwise about a point (x, y); the frame's border goes on outwards."""
    import cv2

    if not degrees:
        return frame
    matrix = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), degrees, 1.0)
    size = (frame.shape[1], frame.shape[0])
    return np.asarray(cv2.warpAffine(frame, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def rotate_boxes(boxes: NDArray[np.float64], degrees: float, centre: NDArray[np.floating]) -> NDArray[np.float64]:
    """Where boxes (N, 4) are once the frame is rotated: their centres turn, they stay upright and of their size."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])  # y points down
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    moved = (middle - centre) @ turn.T + centre
    return np.concatenate([moved - half, moved + half], axis=1)


def shift_squares(squares: NDArray[np.floating], share: float) -> NDArray[np.float64]:
    """Move boxes (..., 4) to the right and down, together by a share of their width."""
    step = (squares[..., 2] - squares[..., 0]) * share / np.sqrt(2)
    return np.asarray(squares + step[..., None], np.float64)


def occlude(crops: Pixels, share: float) -> Pixels:
    """Cover the lower part of crops (..., S, S, 3) with grey, as a mask, a hand or a microphone does."""
    covered: Pixels = crops.copy()
    covered[..., round(crops.shape[-3] * (1 - share)) :, :, :] = _GREY
    return covered


def _width(face: NDArray[np.float64]) -> float:
    return float(face[2] - face[0])


PERTURBATIONS = (
    Perturbation(
        "gamma",
        "stops of the exponent: above 0 darker, below brighter",
        (-1.5, -0.75, 0.75, 1.5),
        lambda frame, strength, face: change_gamma(frame, strength),
    ),
    Perturbation(
        "contrast",
        "share of the contrast lost",
        (0.25, 0.5, 0.7, 0.85),
        lambda frame, strength, face: change_contrast(frame, strength),
    ),
    Perturbation(
        "blur",
        "sigma in % of the face's width",
        (1, 2, 4, 8),
        lambda frame, strength, face: blur(frame, strength / 100 * _width(face)),
    ),
    Perturbation("JPEG", "100 - quality", (40, 70, 85, 95), lambda frame, strength, face: compress(frame, strength)),
    Perturbation(
        "scale",
        "times halved, and scaled up again",
        (1, 2, 3, 4),
        lambda frame, strength, face: rescale(frame, strength),
    ),
    Perturbation(
        ROTATION,
        "degrees, about the face",
        (10, 20, 30, 45),
        lambda frame, strength, face: rotate(frame, strength, (face[:2] + face[2:]) / 2),
    ),
    Perturbation(CROP_OFFSET, "share of the crop's side", (0.05, 0.1, 0.2, 0.3)),
    Perturbation(OCCLUSION, "share covered from below", (0.1, 0.2, 0.35, 0.5)),
)
"""All of them. The last two act on the crop, the others on the frame, before faces are searched for."""
