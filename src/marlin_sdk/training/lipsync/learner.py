"""The network that makes lips and its critic in training, and one step of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from marlin_sdk.lipsync.network import LipsConfig, LipsNetwork
from marlin_sdk.model import Encoder
from marlin_sdk.sync.network import SyncNetwork
from marlin_sdk.training.lipsync.config import LipsTrainConfig
from marlin_sdk.training.lipsync.losses import (
    PictureCritic,
    critic_loss,
    fooling_loss,
    made_halves,
    pixel_loss,
    sync_loss,
)
from marlin_sdk.training.stepping import adamw_around, clip_gradients, no_sync
from marlin_sdk.training.strategy import average

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.wrappers import _FabricOptimizer

__all__ = ["Learner", "build_networks"]


def build_networks(config: LipsTrainConfig, encoder: Encoder) -> tuple[LipsNetwork, PictureCritic | None]:
    """The network around an encoder, and the critic; new layers are random, from separate seeds."""
    size = LipsConfig(
        model=encoder.config, size_px=config.size_px, width=config.width, sound_channels=config.sound_channels,
        sound_depth=config.sound_depth,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = LipsNetwork(encoder, size)
        torch.manual_seed(config.seed + 1)
        critic = PictureCritic() if config.adversarial_weight else None
    encoder.requires_grad_(requires_grad=config.encoder_lr > 0)
    return network, critic


class Learner:
    """The networks with their optimisers.

    As in pretraining, the strategy does not wrap the critic: each process has a copy, and gradients are averaged.

    Args:
        config: weights of the losses, learning rates, clipping.
        network: from `build_networks`.
        critic: from `build_networks`.
        judge: the synchronisation model; None leaves its loss out.
        fabric: launched.
    """

    def __init__(
        self,
        config: LipsTrainConfig,
        network: LipsNetwork,
        critic: PictureCritic | None,
        judge: SyncNetwork | None,
        fabric: Fabric,
    ) -> None:
        self.config, self.fabric = config, fabric
        self.module = fabric.setup_module(network)
        self.network = cast(LipsNetwork, self.module.module)
        self.adamw = adamw_around(self.network, config)
        self.optimizer = cast("_FabricOptimizer", fabric.setup_optimizers(self.adamw))
        self.critic = None if critic is None else critic.to(fabric.device)
        self.critic_optimizer = (
            None if critic is None else torch.optim.AdamW(critic.parameters(), lr=config.base_lr, betas=config.betas)
        )
        self.judge = None if judge is None else judge.to(fabric.device)

    def step(self, batches: Sequence[Mapping[str, Any]], *, learning_rate: float, sync_weight: float) -> Tensor:
        """Train on the batches of one step: first the critic, then the network, on the same pictures.

        Args:
            batches: collated `LipsItem`s.
            learning_rate: of the new layers.
            sync_weight: of the loss of the synchronisation model in this step.
        Returns:
            (4,), on the device: the error of pixels, the losses of the synchronisation model and of fooling the
            critic, not weighted, and the critic's own; 0 where there is none.
        Raises:
            FloatingPointError: a loss or a gradient is NaN or infinite on any process; only the critic has changed.
        """
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate * group["share"]
        found = []
        for index, batch in enumerate(batches):
            with no_sync(self.fabric, self.module, enabled=index + 1 < len(batches)):
                true, made, mel = self._make(batch)
                critic = self._criticise(made.detach(), true, learning_rate)
                losses = self._losses(batch, true, made, mel, sync_weight)
                share = sync_weight + (self.config.adversarial_weight if self.critic is not None else 0.0)
                weights = losses.new_tensor([1 - share, sync_weight, share - sync_weight])
                self.fabric.backward((weights * losses).sum() / len(batches))
            found.append(torch.cat([losses.detach(), critic[None]]))
        numbers = average(torch.stack(found).mean(0))
        if not numbers.isfinite().all():
            values = ", ".join(f"{value:.4g}" for value in numbers.tolist())
            raise FloatingPointError(f"its loss is not finite (pixels, sync, fooling, critic: {values})")
        if self.config.clip_norm is not None:
            clip_gradients(self.fabric, self.module, self.optimizer, self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return numbers

    @torch.no_grad()
    def make(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Make the faces of held-out tracks.

        Args:
            batch: collated `LipsItem`s.
        Returns:
            The true and the made ones, (B, W, 3, 16, S, S), and the loss of the synchronisation model.
        """
        self.module.eval()
        true, made, mel = self._make(batch)
        self.module.train()
        if self.judge is None:
            return true, made, None
        return true, made, self._judge(self.judge, batch, made, mel)

    def _make(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        device = self.fabric.device
        true = batch["clips"].to(device, non_blocking=True).permute(0, 1, 5, 2, 3, 4).float().div_(255)
        mel = batch["log_mel"].to(device)
        made = self.module(true, true.roll(1, 1), mel, batch["frame_places"].to(device))
        return true, made.float(), mel

    def _losses(self, batch: Mapping[str, Any], true: Tensor, made: Tensor, mel: Tensor, sync_weight: float) -> Tensor:
        nothing = made.new_zeros(())
        in_time, fooling = nothing, nothing
        if self.judge is not None and sync_weight > 0:
            in_time = self._judge(self.judge, batch, made, mel)
        if self.critic is not None:
            fooling = fooling_loss(self.critic(made_halves(made)))
        return torch.stack([pixel_loss(made, true), in_time, fooling])

    @staticmethod
    def _judge(judge: SyncNetwork, batch: Mapping[str, Any], made: Tensor, mel: Tensor) -> Tensor:
        return sync_loss(judge, made, mel, batch["places"].to(made.device), batch["heard"].to(made.device))

    def _criticise(self, made: Tensor, true: Tensor, learning_rate: float) -> Tensor:
        """A step of the critic; its loss."""
        if self.critic is None or self.critic_optimizer is None:
            return made.new_zeros(())
        for group in self.critic_optimizer.param_groups:
            group["lr"] = learning_rate * self.config.critic_lr
        self.critic_optimizer.zero_grad()
        loss = critic_loss(self.critic(made_halves(made)), self.critic(made_halves(true)))
        torch.autograd.backward(loss)
        for parameter in self.critic.parameters():
            if parameter.grad is not None:
                average(parameter.grad)
        if loss.isfinite():
            self.critic_optimizer.step()
        return loss.detach()
