"""Masks of pretraining: True where a token is VISIBLE (VideoMAE's are the opposite)."""

from __future__ import annotations

import torch
from torch import Tensor

from marlin_sdk.errors import ShapeError


def check_mask(mask: Tensor, batch: int, num_tokens: int) -> None:
    """See that a mask picks as many tokens in each row; otherwise they would slip from one clip into the next.

    Raises:
        ShapeError: `mask` is not bool (batch, num_tokens), or its rows differ in their number of visible tokens.
    """
    if mask.dtype != torch.bool or mask.shape != (batch, num_tokens):
        raise ShapeError(
            f"a mask is bool ({batch}, {num_tokens}), True where visible; got {mask.dtype} {tuple(mask.shape)}"
        )
    counts = mask.sum(dim=1)
    if (counts != counts[:1]).any():
        raise ShapeError(f"each row of a mask has as many visible tokens as the others; got {counts.tolist()}")


def pick(tokens: Tensor, mask: Tensor) -> Tensor:
    """The tokens (B, N, D) where a checked mask (B, N) is True: (B, picked, D), in token order."""
    return tokens[mask].view(mask.shape[0], -1, tokens.shape[2])
