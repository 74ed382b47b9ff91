"""The pre-norm transformer blocks of encoder and decoder (ViT, arXiv 2010.11929, section 3.1)."""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual alias

NORM_EPS = 1e-5  # of the published model; VideoMAE's is 1e-6


class Attention(nn.Module):
    """Multi-head self-attention whose keys have no bias (a key bias cancels in the softmax).

    Args:
        dim: width of the tokens.
        num_heads: heads; `dim` is a multiple of it.

    Attributes:
        per_head: compute attention head by head with plain matrix products, where torch's own attention is slower.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.per_head = False
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def qkv_bias(self) -> Tensor:
        """(3 * D,): the biases of queries and values around the zeros of the keys."""
        return torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        batch, tokens, dim = x.shape
        qkv = F.linear(x, self.qkv.weight, self.qkv_bias())
        q, k, v = qkv.view(batch, tokens, 3, self.num_heads, dim // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        heads = _attend_per_head(q, k, v) if self.per_head else F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(heads.transpose(1, 2).reshape(batch, tokens, dim))
        return out


def _attend_per_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each (B, H, N, d): softmax(q k' / sqrt(d)) v, with the scores of one head in memory at a time."""
    out = torch.empty_like(q)
    for index in product(range(q.shape[0]), range(q.shape[1])):
        scores = (q[index] * q.shape[-1] ** -0.5) @ k[index].T
        out[index] = scores.softmax(dim=-1) @ v[index]
    return out


class Mlp(nn.Module):
    """Two linear layers with the exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, hidden_dim)
        self.down = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


class Block(nn.Module):
    """Pre-norm transformer layer: attention, then MLP, each added to its input."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) to (B, N, D)."""
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


def initialise(module: nn.Module) -> None:
    """Xavier-uniform linear weights, zero biases, unit norms: the initialisation of VideoMAE (arXiv 2203.12602)."""
    if isinstance(module, (nn.Linear, nn.Conv3d)):
        nn.init.xavier_uniform_(module.weight.flatten(1))  # the convolution is used as a matrix product
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
        nn.init.zeros_(module.bias)
