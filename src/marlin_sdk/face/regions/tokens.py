"""Which tokens of a clip belong to the regions of the face, for pooling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.config import REGION_POOLS
from marlin_sdk.face.regions.labels import REGIONS, region_bits
from marlin_sdk.face.regions.landmarks import draw_face

__all__ = ["region_tokens"]

# Of the five landmarks, those around which a region lies.
_CENTRE = {"eyes": (0, 1), "nose": (2,), "mouth": (3, 4), "skin": (0, 1, 2, 3, 4)}


def region_tokens(landmarks: NDArray[np.float64], size_px: int, patch_px: int) -> NDArray[np.uint8]:
    """Which regions each token belongs to, drawn by `draw_face`.

    A token belongs to eyes (with their brows), nose and mouth if its cell touches them, so it may belong to two; to
    skin if it touches skin and none of those. Where no slice has a token of a region (landmarks beyond the crop, a face
    larger than it, a coarse grid), each slice gives the one nearest to the middle of the region's landmarks.

    Args:
        landmarks: float64 (T, 5, 2), one face a slice, xy in pixels of the crop.
        size_px: side of the crop.
        patch_px: side of a cell.
    Returns:
        uint8 (T, size_px / patch_px, size_px / patch_px), bit k set for `REGION_POOLS[k]`; each is set somewhere.
    Raises:
        ShapeError: landmarks that are not finite.
    """
    touched = region_bits(np.stack([draw_face(points, size_px) for points in landmarks]), patch_px)

    def touches(*regions: str) -> NDArray[np.bool_]:
        return np.asarray(touched & sum(1 << REGIONS.index(region) for region in regions), dtype=np.bool_)

    parts = {"eyes": touches("right_eye", "left_eye"), "nose": touches("nose"), "mouth": touches("mouth")}
    parts["skin"] = touches("skin") & ~(parts["eyes"] | parts["nose"] | parts["mouth"])
    bits = np.zeros_like(touched)
    for bit, region in enumerate(REGION_POOLS):
        tokens = parts[region]
        if not tokens.any():
            middles = landmarks[:, list(_CENTRE[region])].mean(axis=1)  # (T, 2)
            columns, rows = (middles // patch_px).clip(0, size_px // patch_px - 1).astype(np.int64).T
            tokens[np.arange(len(tokens)), rows, columns] = True
        bits[tokens] |= 1 << bit
    return bits
