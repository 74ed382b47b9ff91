"""Parts of a face: what a parser gives for each pixel, and what masking needs to know of each token."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, ShapeError, VideoDecodeError
from marlin_sdk.training.prepare_sources import FRAME_FOLDERS

__all__ = [
    "FACE_PARTS",
    "LABELS",
    "PARSERS",
    "REGIONS",
    "FaceCrops",
    "PrecomputedParser",
    "RegionParser",
    "check_labels",
    "region_bits",
]

PARSERS = ("landmarks", "landmarks68", "segformer", "precomputed")
"""The parsers that have a name."""

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
"""What masking tells apart (MARLIN, section 3.1): bit k of a token's byte stands for `REGIONS[k]`."""

FACE_PARTS = ("right_eye", "left_eye", "nose", "mouth", "hair")
"""The regions that masking hides first."""

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
    """Some frames of one face, cropped, and where they come from.

    Attributes:
        pixels: uint8 (T, S, S, 3), RGB.
        frame_index: int64 (T,), numbers of the frames in their source.
        squares: int64 (T, 4), xyxy, half-open: what was cut out of each frame.
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
    """Anything that tells the parts of a face apart."""

    @property
    def name(self) -> str:
        """What the data's settings call it."""

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
        ShapeError: a value that is no label, or sides that are no multiples.
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
    """See that a map holds labels.

    Raises:
        ShapeError: a dtype that is not of whole numbers, or a value outside 0..10; the message begins with `name`.
    """
    if not np.issubdtype(labels.dtype, np.integer):
        raise ShapeError(f"{name} is {labels.dtype}; expected whole numbers, the labels of FaRL's LaPa parser")
    if labels.size and not 0 <= (least := int(labels.min())) <= (most := int(labels.max())) < len(LABELS):
        raise ShapeError(
            f"{name} holds values from {least} to {most}; expected 0 to {len(LABELS) - 1}, "
            "the labels of FaRL's LaPa parser"
        )


class PrecomputedParser:
    """Label maps that another program has written: `.npy` files with the labels of FaRL's LaPa parser.

    For a folder of frames `a/b`, the map of frame `0007.jpg` is `FOLDER/a/b/0007.npy`; for a video `a/b.mp4`, the map
    of frame k is row k of `FOLDER/a/b.npy`, (T, H, W). For YouTube Faces, `FOLDER` holds `NAME/NUMBER/*.npy`. A map of
    the frame's size is cropped as the frame was; one of the crop's size is taken as it is.

    Args:
        folder: of the maps, laid out as the folder of videos.
    Raises:
        ConfigError: no such folder.
    """

    name = "precomputed"

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigError(f"no folder of label maps at {folder}; pass the folder that holds the .npy files")
        self._folder = folder

    def parse(self, crops: FaceCrops) -> NDArray[np.uint8]:
        """See `RegionParser.parse`.

        Raises:
            VideoDecodeError: a map is missing, cannot be read, or fits neither the frame nor the crop.
        """
        size_px = crops.pixels.shape[1]
        place = self._folder / crops.source.rpartition(f"{FRAME_FOLDERS}/")[2]
        if crops.frame_names:
            files = [place / f"{name}.npy" for name in crops.frame_names]
            maps = [_read_map(file) for file in files]
        else:
            file = place.with_suffix(".npy")
            rows = _read_map(file)
            if rows.ndim != 3 or len(rows) <= crops.frame_index[-1]:
                raise VideoDecodeError(
                    f"{file} has shape {rows.shape}; expected (T, H, W) with a row for frame {crops.frame_index[-1]}"
                )
            maps, files = [rows[index] for index in crops.frame_index], [file] * len(crops)
        return np.stack(
            [
                _fit_map(one, crops.frame_size, square, size_px, file)
                for one, square, file in zip(maps, crops.squares, files, strict=True)
            ]
        )


def _read_map(file: Path) -> NDArray[np.generic]:
    try:
        read: NDArray[np.generic] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise VideoDecodeError(f"no label map can be read from {file}: {error}") from error
    return read


def _fit_map(
    labels: NDArray[np.generic], frame_size: tuple[int, int], square: NDArray[np.int64], size_px: int, file: Path
) -> NDArray[np.uint8]:
    """Cut a map as its frame was cut: the nearest pixel's label, background beyond the border."""
    if labels.shape not in (frame_size, (size_px, size_px)):
        raise VideoDecodeError(
            f"{file} holds a label map of {labels.shape}; expected the frame's size {frame_size} or the crop's "
            f"{(size_px, size_px)}"
        )
    check_labels(labels, str(file))
    whole = np.asarray(labels, dtype=np.uint8)
    if labels.shape != frame_size:
        return whole
    x1, y1, x2, _ = (int(edge) for edge in square)
    steps = ((np.arange(size_px) + 0.5) * (x2 - x1) / size_px).astype(np.int64)
    rows, columns = y1 + steps, x1 + steps
    inside = np.ix_((rows >= 0) & (rows < frame_size[0]), (columns >= 0) & (columns < frame_size[1]))
    cut = np.zeros((size_px, size_px), dtype=np.uint8)
    cut[inside] = whole[rows.clip(0, frame_size[0] - 1)][:, columns.clip(0, frame_size[1] - 1)][inside]
    return cut
