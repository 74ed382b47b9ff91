"""One step of both networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from tests.making import TINY
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.model import MaskedAutoencoder
from marlin_sdk.model.tubelets import to_tubelets
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.learner import Batch, Learner, build_networks

LR = 1e-3


def config(**settings: Any) -> PretrainConfig:
    return PretrainConfig(model=TINY, batch_size=4, accelerator="cpu", max_steps=3, **settings)


def learner(**settings: Any) -> Learner:
    made = config(**settings)
    return Learner(made, *build_networks(made), Fabric(accelerator="cpu", devices=1))


def batch(seed: int = 0, clips: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (clips, 16, 32, 32, 3), dtype=torch.uint8, generator=generator)
    order = torch.rand(clips, TINY.num_tokens, generator=generator).argsort(dim=1)
    return Batch(pixels, order < 3)


def weights(made: Learner) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in made.network.state_dict().items()}


def plain_step(
    network: MaskedAutoencoder, optimizer: torch.optim.Optimizer, seen: Batch, visible_weight: float
) -> tuple[Tensor, Tensor]:
    """A plain implementation of MSE training, which uses only the model of this package."""
    clips = seen.clips.permute(0, 4, 1, 2, 3).float() / 255
    tubelets, shown = to_tubelets(clips, TINY), int(seen.mask[0].sum())
    rebuilt = network(clips, seen.mask, with_visible=visible_weight > 0)
    loss = masked = F.mse_loss(rebuilt[:, -(TINY.num_tokens - shown) :], tubelets[~seen.mask].view(4, -1, 1536))
    visible = torch.zeros(())
    if visible_weight:
        visible = F.mse_loss(rebuilt[:, :shown], tubelets[seen.mask].view(4, -1, 1536))
        loss = masked + visible_weight * visible
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return masked.detach(), visible.detach()


@pytest.mark.parametrize("visible_weight", [0.0, 0.5])
def test_without_a_discriminator_it_is_bit_identical_to_mse_training(visible_weight: float) -> None:
    made = learner(adv_weight=0, visible_weight=visible_weight)
    network = build_networks(config())[0]  # also built with a discriminator: the same weights
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=LR, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(5):
        losses = made.step([batch(step)], learning_rate=LR, seed=step)
        masked, visible = plain_step(network, optimizer, batch(step), visible_weight)
        assert torch.equal(losses.reconstruction, masked)
        assert torch.equal(losses.visible, visible)
        assert bool(visible) is (visible_weight > 0)
        assert losses.fooling == losses.critic == 0
    for key, tensor in network.state_dict().items():
        assert torch.equal(made.network.state_dict()[key], tensor), key


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["reconstruction", "fooling", "critic"]),
        ({"adv_weight": 0}, ["reconstruction"]),
        ({"adv_weight": 0, "visible_weight": 1.0}, ["reconstruction", "visible"]),
        ({"visible_weight": 1.0}, ["reconstruction", "visible", "fooling", "critic"]),
    ],
)
def test_log_has_the_losses_that_there_are(settings: dict[str, float], names: list[str]) -> None:
    made = learner(**settings)
    numbers = made.step([batch()], learning_rate=LR, seed=0).numbers(made.config)
    assert list(numbers) == names
    assert all(numbers.values())


def test_critic_sees_masked_tubelets_only() -> None:
    """With the loss of visible ones as without, in the first step: the critic's own loss is the same."""
    losses = [learner(visible_weight=w).step([batch()], learning_rate=LR, seed=0) for w in (0.0, 2.0)]
    assert losses[0].critic.item() == pytest.approx(losses[1].critic.item(), abs=1e-6)
    assert losses[0].reconstruction.item() == pytest.approx(losses[1].reconstruction.item(), abs=1e-6)


def test_discriminator_changes_the_weights() -> None:
    with_critic, without = learner(adv_weight=0.01), learner(adv_weight=0)
    for made in (with_critic, without):
        made.step([batch()], learning_rate=LR, seed=0)
    assert not torch.equal(with_critic.network.decoder.head.weight, without.network.decoder.head.weight)


def test_critics_step_leaves_the_autoencoder_without_gradients() -> None:
    made = learner()
    clips, target, mask = made._targets(batch())
    prediction = made.autoencoder(clips, mask)
    made._critic_backward(prediction.detach(), target, torch.Generator(), 1.0)
    assert made.discriminator is not None
    assert all(parameter.grad is None for parameter in made.network.parameters())
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in list(made.discriminator.parameters())[:3]
    )


def test_autoencoders_step_leaves_the_critic_without_gradients_or_change() -> None:
    made = learner()
    assert made.discriminator is not None
    before = {key: tensor.clone() for key, tensor in made.discriminator.state_dict().items()}
    made._backward(*made._reconstruct(batch()), 1.0)
    assert all(parameter.grad is None for parameter in made.discriminator.parameters())
    assert made.network.decoder.head.weight.grad is not None
    made._step_autoencoder()
    assert all(torch.equal(tensor, before[key]) for key, tensor in made.discriminator.state_dict().items())


def test_adversarial_gradient_is_that_of_the_explicit_loss() -> None:
    """MSE - 0.01 * mean D(reconstructed), with D after its own step."""
    made = learner(adv_weight=0.01)
    twin = learner(adv_weight=0.01)
    assert made.discriminator is not None
    assert twin.discriminator is not None
    clips, target, mask = twin._targets(batch())
    # D by hand: mean D(reconstructed) - mean D(real), one AdamW step.
    critic = twin.discriminator
    optimizer = torch.optim.AdamW(critic.parameters(), lr=LR, betas=(0.9, 0.95), weight_decay=0.0)
    with torch.no_grad():
        rebuilt = twin.network(clips, mask)
    critic_loss = critic(rebuilt).mean() - critic(target).mean()
    critic_loss.backward()
    optimizer.step()
    loss = F.mse_loss(twin.network(clips, mask), target) - 0.01 * critic(twin.network(clips, mask)).mean()
    loss.backward()
    seen: list[Tensor] = []

    def keep() -> None:
        seen.extend(parameter.grad.clone() for parameter in made.network.parameters() if parameter.grad is not None)

    made._step_autoencoder = keep  # type: ignore[method-assign]
    losses = made.step([batch()], learning_rate=LR, seed=0)
    expected = [parameter.grad for parameter in twin.network.parameters() if parameter.grad is not None]
    assert len(seen) == len(expected) > 10
    assert all(torch.allclose(got, want, rtol=1e-4, atol=1e-8) for got, want in zip(seen, expected, strict=True))
    assert losses.critic.item() == pytest.approx(critic_loss.item(), abs=1e-6)
    for key, tensor in critic.state_dict().items():
        if (
            key != "layers.1.linear.bias"
        ):  # it cancels in the loss: its gradient is only rounding error, which Adam scales up
            assert torch.allclose(made.discriminator.state_dict()[key], tensor, atol=2e-5), key


def test_forward_pass_is_computed_once_for_both() -> None:
    made = learner(d_steps=3)
    passes: list[int] = []
    made.network.decoder.register_forward_hook(lambda *_: passes.append(1))
    made.step([batch()], learning_rate=LR, seed=0)
    assert len(passes) == 1


def test_further_steps_of_the_autoencoder_use_its_new_weights() -> None:
    once, twice = learner(g_steps=1), learner(g_steps=2)
    for made in (once, twice):
        made.step([batch()], learning_rate=LR, seed=0)
    again = once.adamw.state_dict()["state"][0]["step"], twice.adamw.state_dict()["state"][0]["step"]
    assert (int(again[0]), int(again[1])) == (1, 2)
    assert not torch.equal(once.network.decoder.head.weight, twice.network.decoder.head.weight)


def test_d_steps_are_steps_of_the_critic() -> None:
    made = learner(d_steps=3)
    made.step([batch()], learning_rate=LR, seed=0)
    assert made.critic_optimizer is not None
    assert int(made.critic_optimizer.state_dict()["state"][0]["step"]) == 3
    assert int(made.adamw.state_dict()["state"][0]["step"]) == 1


def test_gradient_penalty_enters_the_critics_loss() -> None:
    plain, held = learner(), learner(gradient_penalty=10.0)
    first, second = (made.step([batch()], learning_rate=LR, seed=0).critic.item() for made in (plain, held))
    assert second > first + 0.1


def test_two_accumulated_batches_equal_one_of_twice_the_size() -> None:
    halves, whole = learner(adv_weight=0, accumulate=2), learner(adv_weight=0)
    both = batch(clips=8)
    parts = [Batch(both.clips[:4], both.mask[:4]), Batch(both.clips[4:], both.mask[4:])]
    one, two = whole.step([both], learning_rate=LR, seed=0), halves.step(parts, learning_rate=LR, seed=0)
    assert torch.allclose(one.reconstruction, two.reconstruction, atol=1e-7)
    assert torch.allclose(whole.network.decoder.embed.weight, halves.network.decoder.embed.weight, atol=1e-5)
    moved = whole.network.decoder.embed.weight - build_networks(config())[0].decoder.embed.weight
    assert moved.abs().mean() > 5e-4


def test_recomputed_blocks_give_the_same_weights() -> None:
    plain, recomputed = learner(), learner(checkpoint_blocks=True)
    for made in (plain, recomputed):
        for step in range(2):
            made.step([batch(step)], learning_rate=LR, seed=0)
    for key, tensor in weights(plain).items():
        assert torch.equal(tensor, recomputed.network.state_dict()[key]), key


def test_loss_that_is_not_finite_does_not_change_the_autoencoder() -> None:
    made = learner(adv_weight=0)
    with torch.no_grad():
        made.network.decoder.head.bias[0] = torch.nan
    before = weights(made)
    with pytest.raises(FloatingPointError, match="nan"):
        made.step([batch()], learning_rate=LR, seed=0)
    assert all(torch.equal(tensor.nan_to_num(), before[key].nan_to_num()) for key, tensor in weights(made).items())


def test_positions_are_not_trained_and_vectors_do_not_decay() -> None:
    made = learner(weight_decay=0.5, adv_weight=0)
    before = weights(made)
    groups = made.adamw.param_groups
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert all(parameter.ndim <= 1 for parameter in groups[1]["params"])
    made.step([batch()], learning_rate=LR, seed=0)
    assert torch.equal(made.network.encoder.positions, before["encoder.positions"])
    assert not torch.equal(made.network.encoder.norm.bias, before["encoder.norm.bias"])


def test_gradient_is_clipped_to_its_largest_norm() -> None:
    made = learner(adv_weight=0, clip_norm=1e-3)
    norms: list[float] = []
    step = made.adamw.step

    def measured(*arguments: Any, **options: Any) -> Any:
        gradients = [p.grad.flatten() for p in made.network.parameters() if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
        return step(*arguments, **options)

    made.adamw.step = measured  # type: ignore[method-assign]
    made.step([batch()], learning_rate=LR, seed=0)
    assert norms == [pytest.approx(1e-3, rel=1e-3)]


def test_bfloat16_training_is_close() -> None:
    made = config(adv_weight=0.01)
    low = Learner(made, *build_networks(made), Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    full = learner()
    for step in range(3):
        a, b = (one.step([batch(step)], learning_rate=LR, seed=0) for one in (low, full))
        assert a.reconstruction.item() == pytest.approx(b.reconstruction.item(), rel=0.02)
        assert a.reconstruction.dtype == torch.float32
    assert low.network.decoder.head.weight.dtype == torch.float32


def test_masked_tokens_never_reach_the_encoders_blocks() -> None:
    made = learner()
    shapes: list[torch.Size] = []
    made.network.encoder.blocks[0].register_forward_pre_hook(lambda _module, args: shapes.append(args[0].shape))
    made.step([batch()], learning_rate=LR, seed=0)
    assert shapes == [(4, 3, 32)]


def test_each_masked_tubelet_of_an_evaluation_has_its_own_error() -> None:
    made = learner()
    errors = made.evaluate(batch())
    assert errors.shape == (4, 29)
    alone = torch.cat([made.evaluate(Batch(batch().clips[i : i + 1], batch().mask[i : i + 1])) for i in range(4)])
    assert torch.allclose(errors, alone, atol=1e-6)
    assert made.network.training


def test_clipped_gradient_that_is_not_finite_does_not_change_the_autoencoder() -> None:
    made = learner(adv_weight=0, clip_norm=1.0)
    made.network.decoder.head.weight.register_hook(lambda gradient: gradient * torch.inf)  # type: ignore[no-untyped-call]
    before = weights(made)
    with pytest.raises(FloatingPointError, match="its gradient norm is not finite"):
        made.step([batch()], learning_rate=LR, seed=0)
    assert all(torch.equal(tensor, before[key]) for key, tensor in weights(made).items())
