"""The discriminator of real and reconstructed tubelets."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.model.layers import initialise

__all__ = ["Discriminator"]

NEGATIVE_SLOPE = 0.01  # torch's default; the paper gives none


class _Layer(nn.Module):
    """A linear layer with the name it has in published checkpoints: `layers.N.linear`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x)
        return out


class Discriminator(nn.Module):
    """Scores each tubelet independently: 1536 -> 4 decoder dims -> 1 (MARLIN, arXiv 2211.06627, section 3.2).

    A Wasserstein critic: its score is unbounded, so there is no activation after the last layer.

    Args:
        config: the size of the autoencoder.
    Raises:
        ConfigError: `config` has no decoder.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.decoder_embed_dim is None:
            raise ConfigError("this model config has no decoder, whose width determines the discriminator's")
        hidden = 4 * config.decoder_embed_dim
        self.layers = nn.ModuleList([_Layer(config.patch_dim, hidden), _Layer(hidden, 1)])
        self.apply(initialise)

    def forward(self, tubelets: Tensor) -> Tensor:
        """(B, M, 1536) to scores (B, M, 1): higher means more likely real."""
        first, last = self.layers
        out: Tensor = last(F.leaky_relu(first(tubelets), NEGATIVE_SLOPE))
        return out
