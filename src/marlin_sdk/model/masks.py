"""Token masks: True where a token is VISIBLE (the opposite of VideoMAE's)."""

from __future__ import annotations

import torch
from torch import Tensor

from marlin_sdk.errors import ShapeError


def check_mask(mask: Tensor, batch: int, num_tokens: int) -> None:
    """Check that every row of a mask selects the same number of tokens, so that `pick` does not mix clips.

    Raises:
        ShapeError: `mask` is not bool (batch, num_tokens), or its rows differ in their number of visible tokens.
    """
    if mask.dtype != torch.bool or mask.shape != (batch, num_tokens):
        raise ShapeError(
            f"a mask is bool ({batch}, {num_tokens}), True where visible; got {mask.dtype} {tuple(mask.shape)}"
        )
    counts = mask.sum(dim=1)
    if (counts != counts[:1]).any():
        raise ShapeError(f"the rows of a mask have the same number of visible tokens; got {counts.tolist()}")


def pick(tokens: Tensor, mask: Tensor) -> Tensor:
    """The tokens (B, N, D) where a checked mask (B, N) is True: (B, picked, D), in token order."""
    return tokens[mask].view(mask.shape[0], -1, tokens.shape[2])
