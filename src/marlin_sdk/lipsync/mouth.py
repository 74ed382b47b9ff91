"""Where the mouth is in a face crop."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["MOUTH", "mouth_of", "mouth_of_pixels"]

MOUTH = (0.625, 0.9375, 0.25, 0.75)
"""First and last row, first and last column, as shares of the side of a crop around a detector's box."""

_Pixels = TypeVar("_Pixels", bound=np.generic)


def mouth_of(faces: Tensor) -> Tensor:
    """The mouths of faces (..., S, S)."""
    top, bottom, left, right = _edges(faces.shape[-1])
    return faces[..., top:bottom, left:right]


def mouth_of_pixels(faces: NDArray[_Pixels]) -> NDArray[_Pixels]:
    """The mouths of faces (..., S, S, 3)."""
    top, bottom, left, right = _edges(faces.shape[-2])
    return faces[..., top:bottom, left:right, :]


def _edges(side: int) -> tuple[int, int, int, int]:
    top, bottom, left, right = (round(share * side) for share in MOUTH)
    return top, bottom, left, right
