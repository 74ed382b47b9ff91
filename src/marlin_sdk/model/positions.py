"""Fixed position embeddings of the tokens."""

from __future__ import annotations

import torch
from torch import Tensor


def sinusoid_positions(num_tokens: int, dim: int) -> Tensor:
    """The sin-cos table of "Attention Is All You Need", section 3.5, over the flat token index.

    Returns:
        float32 (1, num_tokens, dim): sin of `pos / 10000^(2 floor(i/2) / dim)` at even i, cos at odd i; on the default
        device. In float32 and in this order of operations it equals the table that published checkpoints hold.
    """
    if torch.get_default_device().type == "meta":  # shape only: arithmetic there would import torch's compiler, 1 s
        return torch.empty(1, num_tokens, dim)
    column = torch.arange(dim)
    rates = 1 / torch.pow(10000.0, 2 * (column // 2) / dim)
    angles = torch.arange(num_tokens, dtype=torch.float32)[:, None] * rates
    return torch.where(column % 2 == 0, angles.sin(), angles.cos())[None]
