"""Reconstructions without a model, which a model must beat, and the parts of a clip in which something moves.

A model that has learnt the average face, and nothing of the clip, has a small error on crops of faces. Two baselines
tell: the mean face of the training clips, and a still face made of what is visible of the clip itself. Where nothing
moves a still face is nearly perfect, so errors are also compared over the moving parts alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ShapeError
from marlin_sdk.model.masks import check_mask, pick
from marlin_sdk.model.tubelets import to_tubelets

__all__ = ["MOVING_SHARE", "mean_face", "mean_face_tubelets", "moving_tubelets", "still_face_tubelets", "sum_frames"]

MOVING_SHARE = 0.1
"""The share of a clip's masked tubelets that counts as its moving parts."""

_LEAST_MOTION = (0.5 / 255) ** 2  # half a level of the 256: below it a tubelet is still, up to rounding


def sum_frames(clips: Iterable[Tensor], config: ModelConfig) -> Tensor:
    """The sum of all frames of some clips, and their number: exact integers, so that processes can add theirs.

    Args:
        clips: uint8 (16, 224, 224, 3), RGB, each; read one after the other.
        config: the model's size.
    Returns:
        int64 (H * W * 3 + 1,), the number of frames last.
    Raises:
        ShapeError: a clip is of another dtype or shape.
    """
    channels, time, height, width = config.clip_shape
    total = torch.zeros(height * width * channels + 1, dtype=torch.int64)
    for clip in clips:
        if clip.dtype != torch.uint8 or clip.shape != (time, height, width, channels):
            raise ShapeError(
                f"a training clip is uint8 {(time, height, width, channels)}; got {clip.dtype} {tuple(clip.shape)}: "
                "prepare the clips for this model, or change its size"
            )
        total[:-1] += clip.sum(dim=0, dtype=torch.int64).flatten()
        total[-1] += time
    return total


def mean_face(frames: Tensor, config: ModelConfig) -> Tensor:
    """The mean face: at each position the mean of all frames of all clips.

    Args:
        frames: from `sum_frames`, of at least one clip.
        config: the model's size.
    Returns:
        float32 (H, W, 3), RGB, range [0, 1].
    Raises:
        ShapeError: there are no frames.
    """
    if not frames[-1]:
        raise ShapeError("a mean face needs at least one clip; got none")
    channels, _, height, width = config.clip_shape
    return (frames[:-1].double() / (255 * frames[-1])).float().reshape(height, width, channels)


def mean_face_tubelets(face: Tensor, mask: Tensor, config: ModelConfig) -> Tensor:
    """Fill what is masked with the mean face.

    Args:
        face: float32 (H, W, 3), from `mean_face`.
        mask: bool (B, 1568), True where VISIBLE.
        config: the model's size.
    Returns:
        float32 (B, masked, 1536), like the decoder's output.
    Raises:
        ShapeError: the mask does not fit the model.
    """
    check_mask(mask, len(mask), config.num_tokens)
    return pick(_tubelets_of(face, config).expand(len(mask), -1, -1), ~mask)


def still_face_tubelets(pixels: Tensor, mask: Tensor, face: Tensor, config: ModelConfig) -> Tensor:
    """Fill what is masked with a still picture of the clip, made of its VISIBLE tubelets only.

    Each cell of the grid holds the mean over time of the frames of its visible tubelets; a cell that is visible in no
    time step holds the mean face. No masked pixel is used.

    Args:
        pixels: float32 (B, 3, 16, 224, 224), range [0, 1].
        mask: bool (B, 1568), True where VISIBLE.
        face: float32 (H, W, 3), from `mean_face`.
        config: the model's size.
    Returns:
        float32 (B, masked, 1536), like the decoder's output; the same in all frames of a cell.
    Raises:
        ShapeError: the mask does not fit the model and the clips.
    """
    check_mask(mask, len(pixels), config.num_tokens)
    steps, cells = config.grid[0], config.grid[1] * config.grid[2]
    # In doubles the sum of equal values, divided by their number, is that value: a still clip has an error of 0.
    seen = torch.where(mask[..., None], to_tubelets(pixels, config), 0).double()
    seen = seen.reshape(len(pixels), steps, cells, 3, config.tubelet_size, -1).sum(dim=(1, 4), keepdim=True)
    count = mask.reshape(len(mask), steps, cells).sum(dim=1).reshape(len(mask), 1, cells, 1, 1, 1)
    still = (seen / (count.clamp(min=1) * config.tubelet_size)).float()
    shape = (len(pixels), steps, cells, 3, config.tubelet_size, still.shape[-1])
    mean = _tubelets_of(face, config).reshape(1, *shape[1:])
    return pick(torch.where(count > 0, still, mean).expand(shape).flatten(3).flatten(1, 2), ~mask)


def moving_tubelets(pixels: Tensor, mask: Tensor, config: ModelConfig) -> Tensor:
    """The moving parts of true clips: which of their masked tubelets differ most from the mean of their cell.

    The motion of a tubelet is the mean square of the difference between its pixels and the mean over all frames of its
    cell, in the true clip. The tenth of a clip's masked tubelets with the largest motion (rounded up; of equal ones the
    first) are its moving parts, except those whose motion is below half a level of 256: a still clip has none.

    Args:
        pixels: float32 (B, 3, 16, 224, 224), range [0, 1].
        mask: bool (B, 1568), True where VISIBLE.
        config: the model's size.
    Returns:
        bool (B, masked), in the order of the decoder's output.
    Raises:
        ShapeError: the mask does not fit the model and the clips.
    """
    check_mask(mask, len(pixels), config.num_tokens)
    difference = to_tubelets(pixels - pixels.mean(dim=2, keepdim=True), config)
    motion = pick(difference.square().mean(dim=2, keepdim=True), ~mask)[..., 0]
    largest = motion.argsort(dim=1, descending=True, stable=True)[:, : math.ceil(MOVING_SHARE * motion.shape[1])]
    return torch.zeros_like(motion, dtype=torch.bool).scatter(1, largest, True) & (motion > _LEAST_MOTION)


def _tubelets_of(face: Tensor, config: ModelConfig) -> Tensor:
    """A still clip of one face, (1, 1568, 1536)."""
    return to_tubelets(face.permute(2, 0, 1)[None, :, None].expand(1, *config.clip_shape), config)
