"""Losses of made lips: of the made half alone, of time, and of a critic."""

from __future__ import annotations

import torch
from tests.making import TINY

from marlin_sdk.model import Encoder
from marlin_sdk.sync.network import SyncConfig, SyncNetwork
from marlin_sdk.training.lipsync.losses import (
    PictureCritic,
    critic_loss,
    fooling_loss,
    made_halves,
    pixel_loss,
    sync_loss,
)


def test_pixels_are_those_of_the_half_that_is_made() -> None:
    true = torch.rand(2, 2, 3, 16, 16, 16)
    made = true.clone()
    made[..., :8, :] = 0
    assert pixel_loss(made, true) == 0
    made[..., 8:, :] += 0.25
    assert torch.isclose(pixel_loss(made, true), torch.tensor(0.25))
    assert made_halves(true).shape == (64, 3, 8, 16)
    assert torch.equal(made_halves(true)[17], true[0, 1, :, 1, 8:])


def test_sync_loss_reaches_the_faces_and_leaves_the_judge_as_it_is() -> None:
    model = TINY.without_decoder()
    torch.manual_seed(0)
    judge = SyncNetwork(Encoder(model), SyncConfig(model=model, dim=4, channels=8, depth=1, looks=2))
    judge.eval().requires_grad_(requires_grad=False)
    made = torch.rand(2, 2, 3, 16, 64, 64, requires_grad=True)  # larger than the judge's 32
    log_mel, places = torch.randn(2, 120, 80), torch.rand(2, 2, 8) * 100
    loss = sync_loss(judge, made, log_mel, places, torch.tensor([[True, True], [True, False]]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss > 0
    assert made.grad is not None
    assert (made.grad.flatten(2).abs().sum(2) > 0).tolist() == [[True, True], [True, False]]
    assert all(parameter.grad is None for parameter in judge.parameters())


def test_critic_learns_what_is_real() -> None:
    torch.manual_seed(0)
    critic = PictureCritic()
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
    real, made = torch.rand(8, 3, 16, 32), torch.full((8, 3, 16, 32), 0.5)
    for _ in range(40):
        optimizer.zero_grad()
        critic_loss(critic(made), critic(real)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert critic_loss(critic(made), critic(real)) < 0.7
    assert fooling_loss(critic(made)) > fooling_loss(critic(real))
