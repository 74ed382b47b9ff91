"""Losses against values computed by hand."""

from __future__ import annotations

import pytest
import torch
from tests.making import TINY
from torch import Tensor

from marlin_sdk.training.pretrain.losses import (
    critic_loss,
    fooling_loss,
    gradient_penalty,
    masked_tubelets,
    normalise_tubelets,
    reconstruction_loss,
)


def test_reconstruction_loss_is_the_mean_square_over_masked_pixels() -> None:
    """(0.5^2 + 0 + 1^2 + 0.25^2) / 4."""
    prediction = torch.tensor([[[0.5, 0.25], [1.0, 0.0]]])
    target = torch.tensor([[[0.0, 0.25], [0.0, 0.25]]])
    assert reconstruction_loss(prediction, target).item() == pytest.approx((0.25 + 0 + 1 + 0.0625) / 4)


def test_critic_scores_real_tubelets_high_and_reconstructed_ones_low() -> None:
    fake, real = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[4.0], [5.0]]])
    assert critic_loss(fake, real).item() == 2.0 - 4.5


def test_autoencoder_maximises_the_scores_of_its_tubelets() -> None:
    assert fooling_loss(torch.tensor([[[1.0], [3.0]]])).item() == -2.0


def test_targets_are_the_masked_tubelets_in_token_order() -> None:
    clips = torch.rand(2, *TINY.clip_shape)
    mask = torch.ones(2, TINY.num_tokens, dtype=torch.bool)
    mask[0, [3, 30]] = False
    mask[1, [0, 1]] = False
    hidden = masked_tubelets(clips, mask, TINY)
    assert hidden.shape == (2, 2, 1536)
    # Token 3 is time 0, row 1, column 1; token 30 is time 7, row 1, column 0.
    assert torch.equal(hidden[0, 0], clips[0, :, 0:2, 16:, 16:].flatten())
    assert torch.equal(hidden[0, 1], clips[0, :, 14:16, 16:, :16].flatten())
    assert torch.equal(hidden[1, 1], clips[1, :, 0:2, :16, 16:].flatten())


def test_normalised_target_has_mean_0_and_variance_1_in_each_channel() -> None:
    """By hand: channel (0, 2) has mean 1 and standard deviation sqrt(2), with n - 1 as in VideoMAE."""
    tubelet = torch.tensor([0.0, 2.0, 5.0, 5.0, -1.0, 1.0])
    root = 2**-0.5
    expected = torch.tensor([-root, root, 0.0, 0.0, -root, root])
    assert torch.allclose(normalise_tubelets(tubelet[None])[0], expected, atol=1e-5)


def test_gradient_penalty_of_a_linear_critic_is_by_hand() -> None:
    """The norm of its gradient is that of its weights, 5, everywhere: (5 - 1)^2."""
    weight = torch.tensor([3.0, 4.0], requires_grad=True)

    def critic(tubelets: Tensor) -> Tensor:
        return (tubelets * weight).sum(-1, keepdim=True)

    real, fake = torch.rand(2, 3, 2), torch.rand(2, 3, 2)
    penalty = gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0))
    assert penalty.item() == pytest.approx(16.0, rel=1e-5)
    penalty.backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    # d/dw (|w| - 1)^2 = 2 (|w| - 1) w / |w|
    assert torch.allclose(weight.grad, torch.tensor([8 * 3 / 5, 8 * 4 / 5]), atol=1e-5)


def test_gradient_penalty_is_computed_between_real_and_reconstructed() -> None:
    seen: list[Tensor] = []
    weight = torch.ones(2, requires_grad=True)

    def critic(tubelets: Tensor) -> Tensor:
        seen.append(tubelets)
        return (tubelets * weight).sum(-1, keepdim=True)

    real, fake = torch.zeros(1, 50, 2), torch.ones(1, 50, 2, requires_grad=True)
    gradient_penalty(critic, real, fake, torch.Generator().manual_seed(0)).backward()  # type: ignore[no-untyped-call]
    assert ((seen[0] > 0) & (seen[0] < 1)).all()
    assert torch.equal(seen[0][..., 0], seen[0][..., 1])  # one point for each pair
    assert seen[0].detach().std() > 0.1
    assert fake.grad is None
