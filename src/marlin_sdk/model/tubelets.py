"""Convert clips to tubelets of 2x16x16 pixels, the decoder's targets, and back."""

from __future__ import annotations

from torch import Tensor

from marlin_sdk.config import ModelConfig

__all__ = ["from_tubelets", "to_tubelets"]


def to_tubelets(clips: Tensor, config: ModelConfig) -> Tensor:
    """Cut clips into tubelets.

    Args:
        clips: (B, 3, T, H, W).
        config: defines the grid and the sizes.
    Returns:
        (B, N, 1536): tubelets in (t, h, w) order, pixels in (c, pt, ph, pw) order, like the output of the decoder.
    """
    (t, h, w), time, patch = config.grid, config.tubelet_size, config.patch_size
    x = clips.reshape(len(clips), 3, t, time, h, patch, w, patch)
    return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)


def from_tubelets(tubelets: Tensor, config: ModelConfig) -> Tensor:
    """The inverse of `to_tubelets`: (B, N, 1536) to (B, 3, T, H, W)."""
    (t, h, w), time, patch = config.grid, config.tubelet_size, config.patch_size
    x = tubelets.reshape(len(tubelets), t, h, w, 3, time, patch, patch)
    return x.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(len(tubelets), *config.clip_shape)
