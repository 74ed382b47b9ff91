"""Fixed positions of the tokens."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def sinusoid_positions(num_tokens: int, dim: int) -> Tensor:
    """The sin-cos table of "Attention Is All You Need", section 3.5, over the flat token index.

    Returns:
        float32 (1, num_tokens, dim): sin of `pos / 10000^(2 floor(i/2) / dim)` at even i, cos at odd i. Computed in
        float64, as the published checkpoints' own table was.
    """
    column = np.arange(dim)
    angles = np.arange(num_tokens)[:, None] / 10000 ** (2 * (column // 2) / dim)
    table = np.where(column % 2 == 0, np.sin(angles), np.cos(angles))
    return torch.from_numpy(table.astype(np.float32))[None]
