"""Visible tokens to the pixels of the masked ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, ShapeError
from marlin_sdk.model.layers import NORM_EPS, Block, initialise
from marlin_sdk.model.masks import check_mask, pick
from marlin_sdk.model.positions import sinusoid_positions


class Decoder(nn.Module):
    """The light transformer that rebuilds masked tubelets (MARLIN, arXiv 2211.06627, section 3.2).

    Args:
        config: its size; must describe a decoder.
    Raises:
        ConfigError: `config` has no decoder.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        dim, depth, heads = config.decoder_embed_dim, config.decoder_depth, config.decoder_num_heads
        if dim is None or depth is None or heads is None:
            raise ConfigError("this model config describes no decoder; give decoder_embed_dim, _depth and _num_heads")
        self.embed = nn.Linear(config.encoder_embed_dim, dim, bias=False)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(sinusoid_positions(config.num_tokens, dim), requires_grad=False)
        self.blocks = nn.ModuleList(Block(dim, heads, config.mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.head = nn.Linear(dim, config.patch_dim)
        self.apply(initialise)
        nn.init.trunc_normal_(self.mask_token, std=0.02)

    def forward(self, visible: Tensor, mask: Tensor) -> Tensor:
        """Rebuild the masked tubelets.

        Args:
            visible: (B, visible, D) from `Encoder.encode_visible`.
            mask: bool (B, N), True where VISIBLE, as given to the encoder.
        Returns:
            (B, masked, 1536): pixels in [0, 1] by training, each tubelet in (c, pt, ph, pw) order, in token order.
        Raises:
            ShapeError: `mask` does not fit the config, or shows another number of tokens than `visible` has.
        """
        positions = self.positions.expand(len(visible), -1, -1)
        check_mask(mask, *positions.shape[:2])
        seen_positions = pick(positions, mask)
        if visible.shape[1] != seen_positions.shape[1]:
            raise ShapeError(f"the mask shows {seen_positions.shape[1]} tokens of a clip; got {visible.shape[1]}")
        seen = self.embed(visible) + seen_positions
        hidden = self.mask_token + pick(positions, ~mask)
        x = torch.cat([seen, hidden], dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.norm(x[:, seen.shape[1] :]))
        return out
