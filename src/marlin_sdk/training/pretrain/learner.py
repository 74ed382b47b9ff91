"""The networks in training, autoencoder and discriminator, and one step of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from marlin_sdk.model import MaskedAutoencoder
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.losses import (
    Discriminator,
    critic_loss,
    fooling_loss,
    gradient_penalty,
    masked_tubelets,
    normalise_tubelets,
    reconstruction_loss,
)
from marlin_sdk.training.stepping import clip_gradients, no_sync, recompute
from marlin_sdk.training.strategy import average

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.wrappers import _FabricOptimizer
    from torch.optim import Optimizer

__all__ = ["Batch", "Learner", "Losses", "build_networks"]


@dataclass(frozen=True)
class Batch:
    """A batch of masked clips.

    Attributes:
        clips: uint8 (B, 16, 224, 224, 3), RGB.
        mask: bool (B, 1568), True where VISIBLE.
    """

    clips: Tensor
    mask: Tensor

    def pixels(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Clips as float (B, 3, 16, 224, 224) in [0, 1], and the mask, on a device."""
        clips = self.clips.to(device, non_blocking=True).permute(0, 4, 1, 2, 3)
        return clips.float() / 255, self.mask.to(device, non_blocking=True)


@dataclass(frozen=True)
class Losses:
    """Scalars of a step, detached, averaged over its batches; the last two are 0 without a discriminator.

    Attributes:
        reconstruction: mean squared error of the masked tubelets.
        visible: that of the visible ones, not yet weighted; 0 if its weight is 0.
        fooling: minus the discriminator's mean score of reconstructed tubelets, not yet weighted.
        critic: the discriminator's own loss, gradient penalty included.
    """

    reconstruction: Tensor
    visible: Tensor
    fooling: Tensor
    critic: Tensor

    def numbers(self, config: PretrainConfig) -> dict[str, float]:
        """By name, on the CPU; only those that the settings have."""
        names = ["reconstruction"]
        names += ["visible"] if config.visible_weight else []
        names += ["fooling", "critic"] if config.is_adversarial else []
        return dict(zip(names, torch.stack([getattr(self, name) for name in names]).tolist(), strict=True))


@dataclass(frozen=True)
class _Tubelets:
    """Tubelets of a batch, (B, masked, 1536) and (B, visible, 1536); the latter only if they are in the loss."""

    masked: Tensor
    visible: Tensor | None = None


def build_networks(config: PretrainConfig) -> tuple[MaskedAutoencoder, Discriminator | None]:
    """Networks with random weights, from separate seeds, so that the discriminator does not affect the autoencoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        autoencoder = MaskedAutoencoder(config.model)
        torch.manual_seed(config.seed + 1)
        discriminator = Discriminator(config.model) if config.is_adversarial else None
    if config.checkpoint_blocks:
        for block in (*autoencoder.encoder.blocks, *autoencoder.decoder.blocks):
            recompute(block)
    return autoencoder, discriminator


class Learner:
    """Autoencoder and discriminator with their optimisers.

    The discriminator is small, so the strategy does not wrap it: each process has a full copy, and gradients are
    averaged before its step. So the autoencoder's loss can use it without changing its gradients, sharded or not.

    Args:
        config: losses, optimisers.
        autoencoder: from `build_networks`, with its weights loaded.
        discriminator: from `build_networks`.
        fabric: launched; wraps the autoencoder for its strategy and precision.
    """

    def __init__(
        self,
        config: PretrainConfig,
        autoencoder: MaskedAutoencoder,
        discriminator: Discriminator | None,
        fabric: Fabric,
    ) -> None:
        self.config = config
        self.fabric = fabric
        # One module for the forward pass: DDP and FSDP require all calls to go through the wrapper's forward().
        self.autoencoder = fabric.setup_module(autoencoder)
        self.network = cast(MaskedAutoencoder, self.autoencoder.module)
        self.adamw = _adamw(self.network, config)
        self.optimizer = cast("_FabricOptimizer", fabric.setup_optimizers(self.adamw))
        self.discriminator = None if discriminator is None else discriminator.to(fabric.device)
        self.critic_optimizer = None if self.discriminator is None else _adamw(self.discriminator, config)

    def step(self, batches: Sequence[Batch], *, learning_rate: float, seed: int) -> Losses:
        """Train on the batches of one step: first the discriminator, then the autoencoder.

        Both use the same forward pass of the autoencoder, which the discriminator's step does not change. Only further
        steps of the autoencoder on the same batch (`g_steps > 1`) compute it again.

        Args:
            batches: `config.accumulate` of them.
            learning_rate: of both optimisers.
            seed: of the gradient penalty's random numbers.
        Raises:
            FloatingPointError: a loss, or a gradient to be clipped, is NaN or infinite on any process; only the
                discriminator's weights have changed.
        """
        for optimizer in self._optimizers():
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        generator = torch.Generator(self.fabric.device).manual_seed(seed)
        sums: list[Tensor] = []
        for index, batch in enumerate(batches):
            with no_sync(self.fabric, self.autoencoder, enabled=index + 1 < len(batches)):
                sums.append(self._compute_gradients(batch, generator, step_critic=len(batches) == 1))
        losses = average(torch.stack(sums).mean(0))
        if not losses.isfinite().all():
            values = ", ".join(f"{value:.4g}" for value in losses.tolist())
            raise FloatingPointError(f"its loss is not finite (reconstruction, visible, fooling, critic: {values})")
        if len(batches) > 1:
            self._step_critic()
        self._step_autoencoder()
        for _ in range(self.config.g_steps - 1):
            self._backward(*self._reconstruct(batches[0]), scale=1.0)
            self._step_autoencoder()
        return Losses(*losses)

    @torch.no_grad()
    def evaluate(self, batch: Batch) -> Tensor:
        """The error of each masked tubelet of held-out clips, (B, masked): mean squares, as in the loss.

        Of normalised tubelets if those are the target.
        """
        self.autoencoder.eval()
        clips, target, mask = self._targets(batch)
        errors: Tensor = (self.autoencoder(clips, mask).float() - target).square().mean(dim=2)
        self.autoencoder.train()
        return errors

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> Tensor:
        """The predicted tubelets of held-out clips, (B, masked, 1536), float32."""
        self.autoencoder.eval()
        clips, _, mask = self._targets(batch)
        prediction: Tensor = self.autoencoder(clips, mask).float()
        self.autoencoder.train()
        return prediction

    @torch.no_grad()
    def encode(self, clips: Tensor) -> Tensor:
        """The normalised tokens of whole clips, (B, 3, 16, 224, 224) in [0, 1] to float32 (B, 1568, D).

        Only in one process; not of sharded weights.
        """
        self.network.eval()
        with self.fabric.autocast():
            tokens: Tensor = self.network.encoder(clips.to(self.fabric.device), pool="none")
        self.network.train()
        return tokens.float()

    def _targets(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        clips, mask = batch.pixels(self.fabric.device)
        return clips, self._tubelets(clips, mask), mask

    def _tubelets(self, clips: Tensor, mask: Tensor) -> Tensor:
        """Those that `mask` hides, as the loss compares them."""
        tubelets = masked_tubelets(clips, mask, self.config.model)
        return normalise_tubelets(tubelets) if self.config.normalise_target else tubelets

    def _reconstruct(self, batch: Batch) -> tuple[_Tubelets, _Tubelets]:
        """Predicted and original tubelets."""
        clips, target, mask = self._targets(batch)
        if not self.config.visible_weight:
            return _Tubelets(self.autoencoder(clips, mask)), _Tubelets(target)
        predicted = self.autoencoder(clips, mask, with_visible=True)
        visible, masked = predicted.tensor_split([predicted.shape[1] - target.shape[1]], dim=1)
        return _Tubelets(masked, visible), _Tubelets(target, self._tubelets(clips, ~mask))

    def _compute_gradients(self, batch: Batch, generator: torch.Generator, *, step_critic: bool) -> Tensor:
        """Compute the gradients of one batch, and optionally make the discriminator's steps; returns (4,) losses."""
        prediction, target = self._reconstruct(batch)
        scale = 1 / self.config.accumulate
        critic = torch.zeros((), device=self.fabric.device)
        if self.discriminator is not None:
            for _ in range(self.config.d_steps):
                critic = self._critic_backward(prediction.masked.detach(), target.masked, generator, scale)
                if step_critic:
                    self._step_critic()
        return torch.stack([*self._backward(prediction, target, scale), critic])

    def _critic_backward(self, fake: Tensor, real: Tensor, generator: torch.Generator, scale: float) -> Tensor:
        assert self.discriminator is not None
        with self.fabric.autocast():
            fake_scores, real_scores = self.discriminator(torch.cat([fake, real])).float().chunk(2)
        loss = critic_loss(fake_scores, real_scores)
        if self.config.gradient_penalty:
            penalty = gradient_penalty(self.discriminator, real, fake, generator)
            loss = loss + self.config.gradient_penalty * penalty
        torch.autograd.backward(loss * scale)
        return loss.detach()

    def _backward(self, prediction: _Tubelets, target: _Tubelets, scale: float) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the autoencoder's gradients, with the discriminator's weights as constants."""
        error = reconstruction_loss(prediction.masked, target.masked)
        loss, visible, fooling = error, torch.zeros_like(error), torch.zeros_like(error)
        if prediction.visible is not None and target.visible is not None:
            visible = reconstruction_loss(prediction.visible, target.visible)
            loss = loss + self.config.visible_weight * visible
        if self.discriminator is not None:
            constants = {name: tensor.detach() for name, tensor in self.discriminator.named_parameters()}
            with self.fabric.autocast():
                scores = functional_call(self.discriminator, constants, (prediction.masked,))
            fooling = fooling_loss(scores.float())
            loss = loss + self.config.adv_weight * fooling
        self.fabric.backward(loss if scale == 1 else loss * scale)
        return error.detach(), visible.detach(), fooling.detach()

    def _step_critic(self) -> None:
        if self.discriminator is None or self.critic_optimizer is None:
            return
        for parameter in self.discriminator.parameters():
            if parameter.grad is not None:
                average(parameter.grad)
        self.critic_optimizer.step()
        self.critic_optimizer.zero_grad()

    def _step_autoencoder(self) -> None:
        if self.config.clip_norm is not None:
            clip_gradients(self.fabric, self.autoencoder, self.optimizer, self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def _optimizers(self) -> list[Optimizer]:
        return [self.adamw] if self.critic_optimizer is None else [self.adamw, self.critic_optimizer]


def _adamw(network: nn.Module, config: PretrainConfig) -> torch.optim.AdamW:
    """AdamW without weight decay of vectors (biases, norms), as in VideoMAE."""
    trainable = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.ndim > 1]
    vectors = [parameter for parameter in trainable if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.base_lr, betas=config.betas)
