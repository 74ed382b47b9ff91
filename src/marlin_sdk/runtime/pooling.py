"""Vectors for parts of a window, pooled from its tokens: for slices of time, or regions of the face."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.config import REGION_POOLS, ModelConfig, Pool
from marlin_sdk.errors import ShapeError

__all__ = ["pool_regions", "pool_time", "pooled_shape"]


def pool_time(tokens: Tensor, config: ModelConfig) -> Tensor:
    """The mean of the tokens of each tubelet slice: of two consecutive frames of a clip.

    Args:
        tokens: float (B, 1568, D), normalised, from `EncoderRuntime.encode(..., keep_seq=True)`.
        config: the model's size.
    Returns:
        (B, 8, D), in order of time.
    """
    return tokens.reshape(len(tokens), config.grid[0], -1, tokens.shape[-1]).mean(dim=2)


def pool_regions(tokens: Tensor, regions: Sequence[NDArray[np.uint8] | None], config: ModelConfig) -> Tensor:
    """The mean of the tokens of each region of the face, over all slices.

    Args:
        tokens: as in `pool_time`.
        regions: for each clip uint8 (8, 14, 14): bit k of a token is set where it belongs to `REGION_POOLS[k]`.
        config: the model's size.
    Returns:
        (B, 4, D), in the order of `REGION_POOLS`.
    Raises:
        ShapeError: a clip has no regions, they have another shape, or one of them has no token.
    """
    for bits in regions:
        if bits is None or bits.shape != config.grid or bits.dtype != np.uint8:
            got = "none" if bits is None else f"{bits.dtype} {bits.shape}"
            raise ShapeError(
                f"pool='regions' needs uint8 {config.grid} with each clip; got {got}; cut it with that pool"
            )
    cells = torch.from_numpy(np.stack([bits.reshape(-1) for bits in regions if bits is not None])).to(tokens.device)
    masks = torch.stack([(cells >> bit) & 1 for bit in range(len(REGION_POOLS))], dim=1).to(tokens.dtype)  # (B, 4, L)
    counts = masks.sum(dim=2, keepdim=True)
    if not counts.all():
        raise ShapeError(f"a region of {', '.join(REGION_POOLS)} has no token in a clip; expected at least one")
    return masks @ tokens / counts


def pooled_shape(pool: Pool, config: ModelConfig, *, keep_seq: bool = False) -> tuple[int, ...]:
    """The shape of one row: (D,); (8, D) of `pool="time"`, (4, D) of "regions", (1568, D) with `keep_seq`."""
    parts = {"mean": (), "time": (config.grid[0],), "regions": (len(REGION_POOLS),)}[pool]
    return (*((config.num_tokens,) if keep_seq else parts), config.encoder_embed_dim)
