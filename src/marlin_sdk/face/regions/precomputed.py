"""Label maps written by another program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.face.regions.labels import FaceCrops, check_labels

__all__ = ["FRAME_FOLDERS", "PrecomputedParser"]

FRAME_FOLDERS = "frame_images_DB"
"""The folder of frames of YouTube Faces (Wolf et al., CVPR 2011): `NAME/NUMBER/*.jpg` below it."""


class PrecomputedParser:
    """Label maps written by another program: `.npy` files with the labels of FaRL's LaPa parser.

    For a folder of frames `a/b`, the map of frame `0007.jpg` is `FOLDER/a/b/0007.npy`; for a video `a/b.mp4`, the map
    of frame k is row k of `FOLDER/a/b.npy`, (T, H, W). For YouTube Faces, `FOLDER` holds `NAME/NUMBER/*.npy`. A map of
    the frame's size is cropped like the frame; one of the crop's size is used unchanged.

    Args:
        folder: of the maps, with the layout of the folder of videos.
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
        path = self._folder / crops.source.rpartition(f"{FRAME_FOLDERS}/")[2]
        if crops.frame_names:
            files = [path / f"{name}.npy" for name in crops.frame_names]
            maps = [_read_map(file) for file in files]
        else:
            file = path.with_suffix(".npy")
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
        raise VideoDecodeError(f"cannot read a label map from {file}: {error}") from error
    return read


def _fit_map(
    labels: NDArray[np.generic], frame_size: tuple[int, int], square: NDArray[np.int64], size_px: int, file: Path
) -> NDArray[np.uint8]:
    """Crop a label map like its frame: the nearest pixel's label, background beyond the border."""
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
