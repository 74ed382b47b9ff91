"""The network in training, and one step of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.model import Encoder
from marlin_sdk.sync.curve import MAX_SHIFT
from marlin_sdk.sync.network import SyncConfig, SyncNetwork, distances
from marlin_sdk.training.stepping import adamw_around, clip_gradients, no_sync
from marlin_sdk.training.strategy import average
from marlin_sdk.training.sync.config import SyncTrainConfig

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.wrappers import _FabricOptimizer

__all__ = ["Learner", "build_network", "contrast"]

_OTHERS = 3
_IMPOSSIBLE = -1e3  # a logit, before it is scaled


def build_network(config: SyncTrainConfig, encoder: Encoder) -> SyncNetwork:
    """The network around an encoder; its new layers are random, from the seed."""
    size = SyncConfig(
        model=encoder.config, dim=config.dim, channels=config.channels, depth=config.depth, looks=config.looks
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = SyncNetwork(encoder, size)
    encoder.requires_grad_(requires_grad=config.encoder_lr > 0)
    return network


def contrast(faces: Tensor, sounds: Tensor, valid: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE: which of some sounds belongs to a window? Those of its own video at 31 shifts, and of the other videos.

    Args:
        faces: (B, W, 8, dim).
        sounds: (B, 31, W, 8, dim), of the same windows at each shift.
        valid: bool (B, 31, W), whether the video has sound there.
        scale: of the logits: half the squared distance, times this.
    Returns:
        The mean loss of the windows with sound at shift 0, and the share of them whose nearest sound of their own video
        is within a frame.
    """
    batch, windows = faces.shape[:2]
    own = -0.5 * distances(faces[:, None], sounds).square()
    own = own.masked_fill(~valid, _IMPOSSIBLE).transpose(1, 2).flatten(0, 1)
    there = sounds[:, MAX_SHIFT].flatten(0, 1)
    others = F.normalize(faces.flatten(0, 1).flatten(1), dim=1) @ F.normalize(there.flatten(1), dim=1).T - 1
    video = torch.arange(batch, device=faces.device).repeat_interleave(windows)
    heard = valid[:, MAX_SHIFT].flatten()
    others = others.masked_fill((video[:, None] == video) | ~heard, _IMPOSSIBLE)
    logits = torch.cat([own, others], dim=1) * scale
    truth = torch.full((len(logits),), MAX_SHIFT, device=logits.device)
    losses = F.cross_entropy(logits, truth, reduction="none")
    near = (own.argmax(dim=1) - MAX_SHIFT).abs() <= 1
    count = heard.sum().clamp_min(1)
    return losses.where(heard, 0).sum() / count, (near & heard).sum() / count


class Learner:
    """A network with its optimiser.

    Args:
        config: learning rates, clipping.
        network: from `build_network`.
        fabric: launched.
    """

    def __init__(self, config: SyncTrainConfig, network: SyncNetwork, fabric: Fabric) -> None:
        self.config, self.fabric = config, fabric
        self.module = fabric.setup_module(network)
        self.network = cast(SyncNetwork, self.module.module)
        self.adamw = adamw_around(self.network, config)
        self.optimizer = cast("_FabricOptimizer", fabric.setup_optimizers(self.adamw))

    def step(self, batches: Sequence[Mapping[str, Any]], *, learning_rate: float) -> Tensor:
        """Train on the batches of one step.

        Args:
            batches: collated `SyncItem`s.
            learning_rate: of the new layers.
        Returns:
            (2,), loss and share within a frame, on the device.
        Raises:
            FloatingPointError: the loss or a gradient is NaN or infinite on any process; weights have not changed.
        """
        for group in self.adamw.param_groups:
            group["lr"] = learning_rate * group["share"]
        found = []
        for index, batch in enumerate(batches):
            with no_sync(self.fabric, self.module, enabled=index + 1 < len(batches)):
                loss, near = self._loss(batch)
                self.fabric.backward(loss / len(batches))
            found.append(torch.stack([loss.detach(), near]))
        numbers = average(torch.stack(found).mean(0))
        if not numbers.isfinite().all():
            raise FloatingPointError(f"its loss is not finite ({float(numbers[0]):.4g})")
        if self.config.clip_norm is not None:
            clip_gradients(self.fabric, self.module, self.optimizer, self.config.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return numbers

    @torch.no_grad()
    def evaluate(self, batch: Mapping[str, Any]) -> Tensor:
        """Distances of the windows of held-out tracks to their sound at each shift, and to that of other tracks.

        The sounds of others are those of other windows: two sentences that begin at the same moment fit at their ends.

        Args:
            batch: collated `SyncItem`s, at least two.
        Returns:
            (1 + others, B, W, 31), NaN where there is no sound; there are up to three others.
        """
        self.module.eval()
        faces, sounds = self._embed(batch)
        valid = batch["valid"].to(faces.device)
        found = []
        for turn in range(min(1 + _OTHERS, len(faces))):
            by = (turn, turn * faces.shape[1] // (1 + _OTHERS))
            apart = distances(faces[:, None], sounds.roll(by, (0, 2)))
            found.append(apart.masked_fill(~valid.roll(by, (0, 2)), torch.nan))
        self.module.train()
        return torch.stack(found).transpose(2, 3)

    def _loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        faces, sounds = self._embed(batch)
        scale = self.network.log_scale.clamp(max=5.0).exp()
        return contrast(faces, sounds, batch["valid"].to(faces.device), scale)

    def _embed(self, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        device = self.fabric.device
        clips = batch["clips"].to(device, non_blocking=True).permute(0, 1, 5, 2, 3, 4).float().div_(255)
        faces, sounds = self.module(clips, batch["log_mel"].to(device), batch["places"].to(device))
        return faces.float(), sounds.float()
