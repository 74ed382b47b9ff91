"""Masks for clips without face parsing, from detected landmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.face.regions.labels import FaceCrops, region_bits
from marlin_sdk.face.regions.landmarks import FivePointParser
from marlin_sdk.masking.patterns import REGION_STRATEGIES, Strategy, make_masks
from marlin_sdk.runtime.inputs import to_frames

__all__ = ["draw_masks"]


def draw_masks(
    clips: Tensor,
    config: ModelConfig,
    find_detector: Callable[[], FaceDetector],
    *,
    masking: str = "fasking",
    ratio: float = 0.9,
    seed: int = 0,
) -> Tensor:
    """Make masks for clips without face parsing: if the masking needs face regions, they are drawn from landmarks.

    Args:
        clips: float (B, 3, 16, 224, 224) in [0, 1], or uint8 (B, 16, 224, 224, 3).
        config: the model's size.
        find_detector: returns the detector; called only if the masking needs face regions.
        masking: see `marlin_sdk.masking.patterns.make_masks`.
        ratio: fraction of the tokens that is masked.
        seed: of the first clip; consecutive seeds for the others.
    Returns:
        bool (B, 1568), True where VISIBLE.
    Raises:
        ConfigError: an unknown masking, a ratio outside (0, 1), or a negative seed.
    """
    if masking not in get_args(Strategy):
        raise ConfigError(f"unknown masking {masking!r}; expected one of {', '.join(get_args(Strategy))}")
    regions = _find_regions(clips, config, find_detector()) if masking in REGION_STRATEGIES else None
    seeds = range(seed, seed + len(clips))
    return make_masks(regions, strategy=cast(Strategy, masking), ratio=ratio, seeds=seeds, grid=config.grid)


def _find_regions(clips: Tensor, config: ModelConfig, detector: FaceDetector) -> NDArray[np.uint8]:
    """uint8 (B, 8, 14, 14): the regions of each token's first frame, as bits."""
    size_px, parser = config.img_size, FivePointParser(detector)
    regions = []
    for clip in clips:
        pixels = clip.cpu().numpy() if clip.dtype == torch.uint8 else to_frames(clip.cpu().clamp(0, 1))
        squares = np.tile(np.array([0, 0, size_px, size_px]), (len(pixels), 1))
        index = np.arange(len(pixels))
        crops = FaceCrops(pixels, index, squares, frame_size=(size_px, size_px), source="clip")
        regions.append(region_bits(parser.parse(crops)[:: config.tubelet_size], config.patch_size))
    return np.stack(regions)
