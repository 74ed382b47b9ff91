"""The network in training, and one step of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from marlin_sdk.training.finetune.augment import augment, mix
from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.finetune.network import FineTuned
from marlin_sdk.training.finetune.objective import Objective
from marlin_sdk.training.stepping import clip_gradients, no_sync, recompute
from marlin_sdk.training.strategy import average

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.wrappers import _FabricOptimizer

__all__ = ["Learner"]


class Learner:
    """Encoder, head and optimiser.

    Args:
        config: the settings.
        network: with the weights to start from.
        objective: what is learned.
        fabric: launched; wraps the network for its strategy and precision.
    """

    def __init__(self, config: FinetuneConfig, network: FineTuned, objective: Objective, fabric: Fabric) -> None:
        self.config, self.objective, self.fabric = config, objective, fabric
        if config.checkpoint_blocks:
            for block in network.encoder.blocks:
                recompute(block)
        self.module = fabric.setup_module(network)
        self.network = cast(FineTuned, self.module.module)
        self.adamw = _adamw(self.network, config)
        self.optimizer = cast("_FabricOptimizer", fabric.setup_optimizers(self.adamw))

    def step(
        self,
        batches: Sequence[dict[str, Any]],
        *,
        values: Tensor,
        learning_rate: float,
        first_open: int,
        seed: int,
    ) -> Tensor:
        """Train on the batches of one step.

        Args:
            batches: "clip" uint8 (B, W, 16, H, W, 3), "row" and "broken" of each; a broken clip does not count.
            values: float (N, L), labels of all rows; see `values_of`.
            learning_rate: of the last block.
            first_open: the lowest layer that is trained.
            seed: of augmentation and dropout.
        Returns:
            The loss, averaged over batches and processes.
        Raises:
            FloatingPointError: a loss or a gradient is NaN or infinite on any process; the weights have not changed.
        """
        self.network.first_open = first_open
        self.module.train()
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate * group["share"]
        random = np.random.default_rng(seed)
        losses = []
        with torch.random.fork_rng(devices=_devices(self.fabric.device)):
            torch.manual_seed(seed)
            for index, items in enumerate(batches):
                with no_sync(self.fabric, self.module, enabled=index + 1 < len(batches)):
                    losses.append(self._backward(items, values, random, 1 / len(batches)))
        loss = average(torch.stack(losses).mean())
        if not loss.isfinite():
            self.optimizer.zero_grad()
            raise FloatingPointError(f"its loss is not finite ({float(loss):.4g})")
        if self.config.clip_norm is not None:
            clip_gradients(self.fabric, self.module, self.optimizer, self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

    @torch.no_grad()
    def features(self, clips: Tensor) -> Tensor:
        """Features of windows, uint8 (B, 16, H, W, 3) to float32 (B, F) on the CPU."""
        self.module.eval()
        with self.fabric.autocast():
            return self.network.features(_pixels(clips, self.fabric.device)).float().cpu()

    def _backward(self, items: dict[str, Any], values: Tensor, random: np.random.Generator, scale: float) -> Tensor:
        batch, windows = items["clip"].shape[:2]
        clips = _pixels(items["clip"].flatten(0, 1), self.fabric.device)
        clips = augment(clips, self.config, random).reshape(batch, windows, *clips.shape[1:])
        labels = values[torch.as_tensor(items["row"])].to(self.fabric.device)
        labels[torch.tensor([bool(why) for why in items["broken"]], device=labels.device)] = torch.nan
        wanted = self.objective.wanted(labels)
        if self.config.mixup:
            clips, wanted = mix(clips, wanted, self.config.mixup, random)
        loss = self.objective.loss(self.module(clips), wanted)
        self.fabric.backward(loss * scale)
        return loss.detach()


def _pixels(clips: Tensor, device: torch.device) -> Tensor:
    """uint8 (B, T, H, W, 3) to float (B, 3, T, H, W) in [0, 1]."""
    return clips.to(device, non_blocking=True).permute(0, 4, 1, 2, 3).float() / 255


def _devices(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []


def _adamw(network: FineTuned, config: FinetuneConfig) -> torch.optim.AdamW:
    """Each layer with its share of the learning rate, and no weight decay of vectors (biases, norms)."""
    *layers, head = network.layers()
    shares = [config.layer_decay ** (len(layers) - 1 - index) for index in range(len(layers))]
    groups: list[dict[str, Any]] = []
    for parameters, share in [*zip(layers, shares, strict=True), (head, config.head_lr)]:
        for own, decay in ((_matrices(parameters), config.weight_decay), (_vectors(parameters), 0.0)):
            if own:
                groups.append({"params": own, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(groups, lr=config.base_lr, betas=config.betas)


def _matrices(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.ndim > 1]


def _vectors(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    return [parameter for parameter in parameters if parameter.ndim <= 1]
