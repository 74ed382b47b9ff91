"""Tells true tubelets from rebuilt ones."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.model.layers import initialise

__all__ = ["Discriminator"]

NEGATIVE_SLOPE = 0.01  # torch's own; the paper gives none


class _Layer(nn.Module):
    """One linear layer under the name that published checkpoints give it: `layers.N.linear`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


class Discriminator(nn.Module):
    """A score for each tubelet on its own: 1536 -> 4 decoder dims -> 1 (MARLIN, arXiv 2211.06627, section 3.2).

    A Wasserstein critic: its score is any number, so nothing follows the last layer.

    Args:
        config: the size of the autoencoder it plays against.
    Raises:
        ConfigError: `config` has no decoder.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.decoder_embed_dim is None:
            raise ConfigError("this model config describes no decoder, whose width gives the discriminator's")
        hidden = 4 * config.decoder_embed_dim
        self.layers = nn.ModuleList([_Layer(config.patch_dim, hidden), _Layer(hidden, 1)])
        self.apply(initialise)

    def forward(self, tubelets: Tensor) -> Tensor:
        """(B, M, 1536) to scores (B, M, 1): higher means truer."""
        first, last = self.layers
        out: Tensor = last(F.leaky_relu(first(tubelets), NEGATIVE_SLOPE))
        return out
