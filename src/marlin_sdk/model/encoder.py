"""The encoder: clips to tokens and features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ShapeError
from marlin_sdk.model.layers import NORM_EPS, Block, initialise
from marlin_sdk.model.masks import check_mask, pick
from marlin_sdk.model.positions import sinusoid_positions


class PatchEmbedding(nn.Module):
    """Embeds tubelets of 2x16x16 pixels as tokens.

    The published model uses a 3-D convolution whose kernel equals its stride. One matrix product over flattened
    tubelets is equivalent, faster on every device, and exports to plain reshapes. The convolution module only holds
    the weights, in their published shape.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.tubelet_size, self.patch_size = config.tubelet_size, config.patch_size
        kernel = (config.tubelet_size, config.patch_size, config.patch_size)
        self.projection = nn.Conv3d(3, config.encoder_embed_dim, kernel, stride=kernel)

    def forward(self, clips: Tensor) -> Tensor:
        """(B, 3, T, H, W) to (B, tokens, D), tokens in (t, h, w) order."""
        (t, h, w), time, patch = self.grid, self.tubelet_size, self.patch_size
        x = clips.reshape(clips.shape[0], clips.shape[1], t, time, h, patch, w, patch)
        # (B, C, t, pt, h, ph, w, pw) -> (B, t, h, w, C, pt, ph, pw)
        x = x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3)
        return F.linear(x, self.projection.weight.flatten(1), self.projection.bias)


class Encoder(nn.Module):
    """The vision transformer of MARLIN (arXiv 2211.06627, section 3.2).

    Args:
        config: its size.
    """

    positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.encoder_embed_dim
        self.patch_embedding = PatchEmbedding(config)
        self.register_buffer("positions", sinusoid_positions(config.num_tokens, dim))  # fixed: not trained
        self.blocks = nn.ModuleList(
            Block(dim, config.encoder_num_heads, config.mlp_ratio) for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.apply(initialise)

    def embed(self, clips: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) in [0, 1] to tokens with position embeddings, (B, N, D).

        Raises:
            ShapeError: `clips` does not fit the config.
        """
        if clips.shape[1:] != self.config.clip_shape:
            expected = ", ".join(map(str, self.config.clip_shape))
            raise ShapeError(f"the encoder takes clips of (B, {expected}): B, C, T, H, W; got {tuple(clips.shape)}")
        out: Tensor = self.patch_embedding(clips) + self.positions
        return out

    def forward(self, clips: Tensor, *, pool: Literal["mean", "none"] = "mean") -> Tensor:
        """Embed clips.

        Args:
            clips: float (B, 3, 16, 224, 224), RGB, range [0, 1], in the dtype of the weights.
            pool: "mean" averages the tokens and then normalises (the order of the published model); "none" normalises
                each token.
        Returns:
            (B, D), or (B, 1568, D) for "none".
        Raises:
            ShapeError: `clips` does not fit the config.
        """
        x = self.embed(clips)
        for block in self.blocks:
            x = block(x)
        return self._pool(x, pool)

    def intermediate(self, clips: Tensor, layers: Sequence[int], *, pool: Literal["mean", "none"] = "mean") -> Tensor:
        """The outputs of selected blocks, each pooled and normalised like the last one.

        Args:
            clips: as in `forward`.
            layers: block indices from 0, in any order; negative ones count from the end.
            pool: as in `forward`.
        Returns:
            (B, len(layers), D), or (B, len(layers), 1568, D) for "none"; `layers=[-1]` equals `forward`.
        """
        wanted = [range(len(self.blocks))[layer] for layer in layers]
        x = self.embed(clips)
        outputs = {}
        for index, block in enumerate(self.blocks[: max(wanted) + 1]):
            x = block(x)
            if index in wanted:
                outputs[index] = self._pool(x, pool)
        return torch.stack([outputs[index] for index in wanted], dim=1)

    def encode_visible(self, clips: Tensor, mask: Tensor) -> Tensor:
        """Encode only the visible tokens, as in pretraining.

        Args:
            clips: as in `forward`.
            mask: bool (B, N), True where VISIBLE, with the same number of visible tokens in each row.
        Returns:
            (B, visible, D), normalised, in token order.
        Raises:
            ShapeError: `clips` or `mask` does not fit the config, or each other.
        """
        check_mask(mask, len(clips), self.config.num_tokens)
        x = pick(self.embed(clips), mask)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.norm(x)
        return out

    def _pool(self, x: Tensor, pool: Literal["mean", "none"]) -> Tensor:
        out: Tensor = self.norm(x.mean(dim=1) if pool == "mean" else x)
        return out
