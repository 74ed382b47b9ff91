"""Face parts: the labels that a parser assigns to pixels, and the regions that masking uses for tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ShapeError

__all__ = [
    "FACE_PARTS",
    "LABELS",
    "PARSERS",
    "REGIONS",
    "FaceCrops",
    "RegionParser",
    "check_labels",
    "region_bits",
]

PARSERS = ("landmarks", "landmarks68", "segformer", "precomputed", "none")
"""Names of the built-in parsers; "none" leaves regions out."""

LABELS = (
    "background",
    "skin",
    "right_brow",
    "left_brow",
    "right_eye",
    "left_eye",
    "nose",
    "upper_lip",
    "inner_mouth",
    "lower_lip",
    "hair",
)
"""Values of a label map, by index: those of FaRL's LaPa parser. Right is the person's right."""

REGIONS = ("background", "skin", "right_eye", "left_eye", "nose", "mouth", "hair")
"""The regions that masking distinguishes (MARLIN, section 3.1): bit k of a token's byte stands for `REGIONS[k]`."""

FACE_PARTS = ("right_eye", "left_eye", "nose", "mouth", "hair")
"""The regions that are masked first."""

_REGION_OF_LABEL = {
    "right_brow": "right_eye",
    "left_brow": "left_eye",
    "upper_lip": "mouth",
    "inner_mouth": "mouth",
    "lower_lip": "mouth",
}
_BIT_OF_LABEL = np.array([1 << REGIONS.index(_REGION_OF_LABEL.get(label, label)) for label in LABELS], dtype=np.uint8)


@dataclass(frozen=True)
class FaceCrops:
    """Cropped frames of one face, and their origin.

    Attributes:
        pixels: uint8 (T, S, S, 3), RGB.
        frame_index: int64 (T,), indices of the frames in their source.
        squares: int64 (T, 4), xyxy, half-open: the square cropped from each frame.
        frame_size: (height, width) of those frames.
        source: the source's path below the folder of videos, "/" between its parts.
        frame_names: their files' names without suffix, where the source is a folder of images; empty for a video.
    """

    pixels: NDArray[np.uint8]
    frame_index: NDArray[np.int64]
    squares: NDArray[np.int64]
    frame_size: tuple[int, int]
    source: str
    frame_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)


@runtime_checkable
class RegionParser(Protocol):
    """Protocol of a face parser."""

    @property
    def name(self) -> str:
        """Its name in the settings of prepared data."""

    def parse(self, crops: FaceCrops) -> NDArray[np.uint8]:
        """Label each pixel.

        Args:
            crops: consecutive frames of one face.
        Returns:
            uint8 (T, S, S), indices into `LABELS`.
        """


def region_bits(labels: NDArray[np.uint8], patch_px: int) -> NDArray[np.uint8]:
    """Which regions each cell of `patch_px` x `patch_px` pixels touches.

    Args:
        labels: uint8 (T, H, W), indices into `LABELS`.
        patch_px: side of a cell; H and W are multiples of it.
    Returns:
        uint8 (T, H / patch_px, W / patch_px), bit k set where a pixel of `REGIONS[k]` lies in the cell.
    Raises:
        ShapeError: a value is not a label, or a side is not a multiple.
    """
    frames, height, width = labels.shape
    if labels.dtype != np.uint8 or height % patch_px or width % patch_px:
        raise ShapeError(
            f"label maps are uint8 (T, H, W), H and W multiples of {patch_px}; got {labels.dtype} {labels.shape}"
        )
    check_labels(labels, "a label map")
    bits = _BIT_OF_LABEL[labels].reshape(frames, height // patch_px, patch_px, width // patch_px, patch_px)
    return np.asarray(np.bitwise_or.reduce(bits, axis=(2, 4)), dtype=np.uint8)


def check_labels(labels: NDArray[np.generic], name: str) -> None:
    """Check that a map holds labels.

    Raises:
        ShapeError: the dtype is not an integer, or a value is outside 0..10; the message begins with `name`.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise ShapeError(f"{name} is {labels.dtype}; expected integers, the labels of FaRL's LaPa parser")
    if labels.size and not 0 <= (lowest := int(labels.min())) <= (highest := int(labels.max())) < len(LABELS):
        raise ShapeError(
            f"{name} holds values from {lowest} to {highest}; expected 0 to {len(LABELS) - 1}, "
            "the labels of FaRL's LaPa parser"
        )
