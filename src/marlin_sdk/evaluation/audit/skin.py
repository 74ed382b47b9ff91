"""Apparent skin tone of a picture of a face: a measure of light and camera as much as of skin, and of no person.

The individual typology angle is ITA = atan((L* - 50) / b*) * 180 / pi, in CIELAB: light is high, dark is low. It
changes with exposure and white balance, so that it belongs to a picture; it names no race, and is compared with none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHEEKS", "apparent_ita", "cheek_pixels", "ita_of", "rgb_to_lab"]

CHEEKS = ((0.55, 0.70, 0.22, 0.38), (0.55, 0.70, 0.62, 0.78))
"""Where the cheeks of an upright face lie in its square box, as shares of its side: top, bottom, left, right."""

_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])  # D65
_DARKEST, _BRIGHTEST = 5, 250  # pixels beyond are clipped, and have no colour
_FEWEST = 0.25  # share of the pixels that must be left


def rgb_to_lab(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """CIELAB under D65 of sRGB.

    Args:
        pixels: uint8 (..., 3), RGB.
    Returns:
        float64 (..., 3): L* in [0, 100], a*, b*.
    """
    share = pixels.astype(np.float64) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _TO_XYZ.T / _WHITE
    f = np.where(ratio > (6 / 29) ** 3, np.cbrt(ratio), ratio / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def ita_of(pixels: NDArray[np.uint8]) -> float | None:
    """ITA in degrees of the median L* and b* of some pixels.

    Args:
        pixels: uint8 (N, 3), RGB.
    Returns:
        None if most are clipped, or if they are bluish (b* of 0 or below), for which the angle means nothing.
    """
    kept = pixels[((pixels >= _DARKEST) & (pixels <= _BRIGHTEST)).all(axis=-1)]
    if not len(pixels) or len(kept) < _FEWEST * len(pixels):
        return None
    lightness, _, yellow = np.median(rgb_to_lab(kept), axis=0)
    if yellow <= 0:
        return None
    return float(np.degrees(np.arctan((lightness - 50) / yellow)))


def cheek_pixels(crop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels of both cheeks of a face, by the geometry of its box alone: `CHEEKS`.

    Args:
        crop: uint8 (S, S, 3), RGB, the square box of an upright face.
    Returns:
        uint8 (N, 3).
    """
    side = len(crop)
    parts = [
        crop[int(top * side) : int(bottom * side), int(left * side) : int(right * side)].reshape(-1, 3)
        for top, bottom, left, right in CHEEKS
    ]
    return np.concatenate(parts)


def apparent_ita(crop: NDArray[np.uint8]) -> float | None:
    """Apparent skin tone of a picture of a face; see `ita_of` and `cheek_pixels`."""
    return ita_of(cheek_pixels(crop))
