"""What pretraining minimises: the error of rebuilt tubelets, and the game against the discriminator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from marlin_sdk.config import ModelConfig
from marlin_sdk.model.masks import pick
from marlin_sdk.model.tubelets import to_tubelets

__all__ = [
    "critic_loss",
    "fooling_loss",
    "gradient_penalty",
    "masked_tubelets",
    "normalise_tubelets",
    "reconstruction_loss",
]

_VARIANCE_EPS = 1e-6  # VideoMAE's (arXiv 2203.12602): a flat tubelet has no variance to divide by


def masked_tubelets(clips: Tensor, mask: Tensor, config: ModelConfig) -> Tensor:
    """The true pixels of what a mask hides.

    Args:
        clips: (B, 3, 16, 224, 224), range [0, 1].
        mask: bool (B, 1568), True where VISIBLE.
        config: the model's size.
    Returns:
        (B, masked, 1536), in the order of `MaskedAutoencoder.forward`.
    """
    return pick(to_tubelets(clips, config), ~mask)


def normalise_tubelets(tubelets: Tensor) -> Tensor:
    """Each colour channel of each tubelet with mean 0 and variance 1: VideoMAE's target (arXiv 2203.12602, section 4).

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


def critic_loss(fake_scores: Tensor, real_scores: Tensor) -> Tensor:
    """What the discriminator minimises: mean score of rebuilt tubelets minus mean score of true ones (Wasserstein)."""
    return fake_scores.mean() - real_scores.mean()


def fooling_loss(fake_scores: Tensor) -> Tensor:
    """What the autoencoder minimises beside the error: minus the mean score of its tubelets."""
    return -fake_scores.mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, generator: torch.Generator
) -> Tensor:
    """How far the discriminator's slope is from 1 between true and rebuilt tubelets (WGAN-GP, arXiv 1704.00028).

    Args:
        discriminator: tubelets (B, M, 1536) to scores (B, M, 1).
        real: true tubelets.
        fake: rebuilt tubelets, of the same shape; no gradient flows into them.
        generator: draws the point between each pair; on their device.
    Returns:
        The mean of (slope - 1)^2 over tubelets, a scalar.
    """
    share = torch.rand(*real.shape[:-1], 1, generator=generator, device=real.device, dtype=real.dtype)
    between = torch.lerp(real.detach(), fake.detach(), share).requires_grad_()
    scores = discriminator(between)
    (slopes,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    penalty: Tensor = (slopes.norm(dim=-1) - 1).square().mean()
    return penalty
