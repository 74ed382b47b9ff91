"""The decoder: visible tokens to the pixels of masked tubelets."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, ShapeError
from marlin_sdk.model.layers import NORM_EPS, Block, initialise
from marlin_sdk.model.masks import check_mask, pick
from marlin_sdk.model.positions import sinusoid_positions


class Decoder(nn.Module):
    """The lightweight transformer that reconstructs masked tubelets (MARLIN, arXiv 2211.06627, section 3.2).

    Args:
        config: its size; must describe a decoder.
    Raises:
        ConfigError: `config` has no decoder.
    """

    positions: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, depth, heads = config.decoder_embed_dim, config.decoder_depth, config.decoder_num_heads
        if dim is None or depth is None or heads is None:
            raise ConfigError("this model config has no decoder; set decoder_embed_dim, _depth and _num_heads")
        self.embed = nn.Linear(config.encoder_embed_dim, dim, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.register_buffer("positions", sinusoid_positions(config.num_tokens, dim))  # fixed: not trained
        self.blocks = nn.ModuleList(Block(dim, heads, config.mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.head = nn.Linear(dim, config.patch_dim)
        self.apply(initialise)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, visible: Tensor, mask: Tensor, *, with_visible: bool = False) -> Tensor:
        """Reconstruct the masked tubelets.

        Args:
            visible: (B, visible, D) from `Encoder.encode_visible`.
            mask: bool (B, N), True where VISIBLE, the same as for the encoder.
            with_visible: reconstruct the visible tubelets too.
        Returns:
            (B, masked, 1536): pixels trained to lie in [0, 1], each tubelet in (c, pt, ph, pw) order, in token order;
            before them, if asked for, the visible ones in token order.
        Raises:
            ShapeError: `mask` does not fit the config, or its number of visible tokens is not that of `visible`.
        """
        positions = self.positions.expand(len(visible), -1, -1)
        check_mask(mask, *positions.shape[:2])
        visible_positions = pick(positions, mask)
        num_visible = visible_positions.shape[1]
        if visible.shape[1] != num_visible:
            raise ShapeError(f"the mask has {num_visible} visible tokens a clip; got {visible.shape[1]}")
        embedded = self.embed(visible) + visible_positions
        masked = self.mask_token + pick(positions, ~mask)
        x = torch.cat([embedded, masked], dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.norm(x if with_visible else x[:, num_visible:]))
        return out
