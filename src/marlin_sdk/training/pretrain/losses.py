"""The losses of pretraining: reconstruction error, and the discriminator with its adversarial losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.model.layers import initialise
from marlin_sdk.model.masks import pick
from marlin_sdk.model.tubelets import to_tubelets

__all__ = [
    "Discriminator",
    "critic_loss",
    "fooling_loss",
    "gradient_penalty",
    "masked_tubelets",
    "normalise_tubelets",
    "reconstruction_loss",
]

NEGATIVE_SLOPE = 0.01  # torch's default; the paper gives none
_VARIANCE_EPS = 1e-6  # VideoMAE's (arXiv 2203.12602): a flat tubelet has no variance to divide by


def masked_tubelets(clips: Tensor, mask: Tensor, config: ModelConfig) -> Tensor:
    """The original pixels of the masked tubelets.

    Args:
        clips: (B, 3, 16, 224, 224), range [0, 1].
        mask: bool (B, 1568), True where VISIBLE.
        config: the model's size.
    Returns:
        (B, masked, 1536), in the order of `MaskedAutoencoder.forward`.
    """
    return pick(to_tubelets(clips, config), ~mask)


def normalise_tubelets(tubelets: Tensor) -> Tensor:
    """Normalise each colour channel of each tubelet: VideoMAE's target (arXiv 2203.12602, section 4).

    Args:
        tubelets: (..., 1536), pixels in (c, pt, ph, pw) order.
    """
    channels = tubelets.reshape(*tubelets.shape[:-1], 3, -1)
    variance, mean = torch.var_mean(channels, dim=-1, keepdim=True)
    normalised: Tensor = (channels - mean) / (variance.sqrt() + _VARIANCE_EPS)
    return normalised.flatten(-2)


def reconstruction_loss(prediction: Tensor, target: Tensor) -> Tensor:
    """The mean squared error over every pixel of every masked tubelet, a scalar."""
    return F.mse_loss(prediction, target)


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


def critic_loss(fake_scores: Tensor, real_scores: Tensor) -> Tensor:
    """The discriminator's loss: mean score of reconstructed tubelets minus that of real ones (Wasserstein)."""
    return fake_scores.mean() - real_scores.mean()


def fooling_loss(fake_scores: Tensor) -> Tensor:
    """The autoencoder's adversarial loss: minus the mean score of its tubelets."""
    return -fake_scores.mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """The gradient penalty of WGAN-GP (arXiv 1704.00028), between real and reconstructed tubelets.

    Args:
        discriminator: tubelets (B, M, 1536) to scores (B, M, 1).
        real: original tubelets.
        fake: reconstructed tubelets, of the same shape; no gradient flows into them.
        generator: draws the point between each pair; on their device.
    Returns:
        The mean of (gradient norm - 1)^2 over tubelets, a scalar.
    """
    weight = torch.rand(*real.shape[:-1], 1, generator=generator, device=real.device, dtype=real.dtype)
    interpolated = torch.lerp(real.detach(), fake.detach(), weight).requires_grad_()
    scores = discriminator(interpolated)
    (gradients,) = torch.autograd.grad(scores.sum(), interpolated, create_graph=True)
    penalty: Tensor = (gradients.norm(dim=-1) - 1).square().mean()
    return penalty
