"""Visible tokens to the pixels of the masked ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.model.layers import NORM_EPS, Block, initialise
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
        """
        x = self.embed(visible)
        batch, _, dim = x.shape
        positions = self.positions.expand(batch, -1, -1)
        seen = x + positions[mask].view(batch, -1, dim)
        hidden = self.mask_token + positions[~mask].view(batch, -1, dim)
        x = torch.cat([seen, hidden], dim=1)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.head(self.norm(x[:, seen.shape[1] :]))
        return out
