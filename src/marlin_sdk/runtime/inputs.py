"""Validation and conversion of the encoder's inputs: clips and layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.config import ModelConfig, as_integer
from marlin_sdk.errors import ConfigError, ShapeError

__all__ = ["as_clips", "as_layers", "to_floats", "to_frames"]

_RANGE_TOLERANCE = 1e-4  # overshoot of [0, 1] by interpolation


def as_clips(clip: Tensor | NDArray[Any], model: ModelConfig) -> tuple[Tensor, bool]:
    """Validate the clips that a user passes.

    Args:
        clip: float (B, 3, 16, 224, 224) or (3, 16, 224, 224) in [0, 1], or uint8 (B, 16, 224, 224, 3) or
            (16, 224, 224, 3); tensor or array.
        model: defines the sizes.
    Returns:
        The clips with a batch dimension, float32 or uint8, and whether `clip` had one.
    Raises:
        ShapeError: another shape or dtype, NaN, or floats outside [0, 1]; the message gives expected and actual.
    """
    try:
        # Copied if necessary: torch supports neither the negative strides of bgr[..., ::-1] nor read-only memory.
        array = clip if isinstance(clip, Tensor) else np.require(clip, requirements=["C", "W"])
        clips = torch.as_tensor(array)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(f"a clip is a tensor or an array of numbers, not {type(clip).__name__}: {error}") from error
    channels, time, height, width = model.clip_shape
    layouts = {
        "uint8": (time, height, width, channels),
        "float": (channels, time, height, width),
    }
    kind = "uint8" if clips.dtype == torch.uint8 else "float"
    if kind == "float" and not clips.is_floating_point():
        raise ShapeError(f"a clip of {clips.dtype} is ambiguous; pass uint8 pixels, or floats in [0, 1]")
    expected = layouts[kind]
    batched = clips.ndim == 5
    if tuple(clips.shape[1:] if batched else clips.shape) != expected or (batched and not len(clips)):
        other = layouts["float" if kind == "uint8" else "uint8"]
        hint = ""
        if tuple(clips.shape[-4:]) == other:
            hint = f" (that is the order of {'float' if kind == 'uint8' else 'uint8'} clips; permute or convert it)"
        sizes = ", ".join(map(str, expected))
        raise ShapeError(f"a {kind} clip has shape (B, {sizes}) or ({sizes}); got {tuple(clips.shape)}{hint}")
    clips = clips if batched else clips[None]
    if kind == "float":
        clips = clips.float()
        low, high = clips.aminmax()
        if not (low >= -_RANGE_TOLERANCE and high <= 1 + _RANGE_TOLERANCE):  # NaN fails too
            raise ShapeError(
                f"float clips lie in [0, 1]; got values from {low.item():.4g} to {high.item():.4g}; "
                "divide 8-bit pixels by 255, and do not subtract a mean"
            )
    return clips, batched


def as_layers(layers: Any, model: ModelConfig) -> list[int]:
    """Validate the block indices that a user passes.

    Args:
        layers: a list or array of integers, from 0 or from the end.
        model: defines the number of blocks.
    Raises:
        ConfigError: not a list of integers, an empty one, or an index out of range.
    """
    depth = model.encoder_depth
    try:
        wanted = [as_integer(layer) for layer in layers]
    except TypeError:
        wanted = []
    indices = [layer for layer in wanted if layer is not None and -depth <= layer < depth]
    if not wanted or len(indices) != len(wanted):
        raise ConfigError(f"layers={layers!r}; expected a list of block indices, from {-depth} to {depth - 1}")
    return indices


def to_floats(clips: Tensor) -> Tensor:
    """Convert clips to the encoder's input format.

    Args:
        clips: uint8 (B, T, H, W, 3), or float32 (B, 3, T, H, W), which are returned unchanged.
    Returns:
        float32 (B, 3, T, H, W) in [0, 1], on the same device.
    """
    return clips.permute(0, 4, 1, 2, 3).float() / 255 if clips.dtype == torch.uint8 else clips


def to_frames(clip: Tensor) -> NDArray[np.uint8]:
    """Convert a clip to images.

    Args:
        clip: float (3, T, H, W) in [0, 1], on the CPU.
    Returns:
        uint8 (T, H, W, 3), RGB.
    """
    frames: NDArray[np.uint8] = (clip.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy()
    return frames
