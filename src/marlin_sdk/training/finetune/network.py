"""An encoder with a head, whose layers open one after the other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.config import ModelConfig
from marlin_sdk.evaluation.probe.attentive import AttentiveHead, attention_module
from marlin_sdk.evaluation.probe.heads import Head, LinearHead
from marlin_sdk.model import Encoder
from marlin_sdk.runtime.pooling import pool_time, pooled_shape
from marlin_sdk.training.finetune.config import WindowPool
from marlin_sdk.training.finetune.objective import Objective
from marlin_sdk.training.strategy import joint_count, joint_mean

__all__ = ["AttentionHead", "FineTuned", "MeanHead", "Standard", "feature_width", "make_head"]

_MOMENTUM, _LEAST, _FEW = 0.1, 1e-6, 4


class Standard(nn.Module):
    """Standardises features; while the encoder learns, mean and scale follow what they become.

    In training they are those of the batch, of all processes, and gradients flow through them; a test needs `settle`.
    Features of an encoder may vary by a thousandth of their size, and a step moves them by
    more than that: a head that kept the mean and scale of the frozen encoder, or features as they are, learns nothing.
    A batch of fewer than 4 rows, of which mean and scale say little, is standardised by those of the last batches.

    Args:
        width: of the features.
        follow: False keeps mean and scale.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, width: int, *, follow: bool = True) -> None:
        super().__init__()
        self._follow = follow
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))

    def forward(self, rows: Tensor) -> Tensor:
        """Float (..., F), of the same shape."""
        if not (self.training and self._follow):
            return (rows - self.mean) / self.scale
        flat = rows.flatten(0, -2)
        mean = joint_mean(flat.mean(dim=0))
        scale = joint_mean((flat - mean).square().mean(dim=0)).clamp(min=_LEAST**2).sqrt()
        with torch.no_grad():
            self.mean.lerp_(mean, _MOMENTUM)
            self.scale.lerp_(scale, _MOMENTUM)
        if joint_count(len(flat)) < _FEW:
            return (rows - self.mean) / self.scale
        return (rows - mean) / scale

    def settle(self, rows: NDArray[np.float32]) -> None:
        """Take mean and scale of features (N, F) of the network as it is.

        Those of the last batches are of weights that have moved on, by more than the features vary: judged by them, a
        network that knows its labels can look as if it guessed.
        """
        scale = rows.std(axis=0, dtype=np.float64).clip(min=_LEAST)
        self.mean.copy_(torch.from_numpy(rows.mean(axis=0, dtype=np.float64)))
        self.scale.copy_(torch.from_numpy(scale))

    def take(self, head: LinearHead | AttentiveHead) -> None:
        """Those of a probe."""
        self.mean.copy_(torch.from_numpy(head.mean))
        self.scale.copy_(torch.from_numpy(head.scale))

    def arrays(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and scale."""
        return self.mean.double().cpu().numpy(), self.scale.double().cpu().numpy()


class MeanHead(nn.Module):
    """A linear layer on the mean of a clip's windows.

    Args:
        width: of the features.
        outputs: numbers a clip.
        follow: see `Standard`.
    """

    def __init__(self, width: int, outputs: int, *, follow: bool = True) -> None:
        super().__init__()
        self.standard = Standard(width, follow=follow)
        self.linear = nn.Linear(width, outputs)
        nn.init.zeros_(self.linear.bias)

    def forward(self, windows: Tensor, mask: Tensor) -> Tensor:
        """Features (B, W, F), and which of them there are, bool (B, W), to (B, O)."""
        counts = mask.sum(dim=1, keepdim=True)
        mean = (windows * mask[..., None]).sum(dim=1) / counts
        out: Tensor = self.linear(self.standard(mean))
        return out

    @torch.no_grad()
    def start(self, heads: Sequence[Head], objective: Objective) -> None:
        """Take the weights of a linear probe of the same labels."""
        fitted = [head for head in heads if isinstance(head, LinearHead)]
        weight, bias = (np.concatenate([getattr(head, name) for head in fitted]) for name in ("weight", "bias"))
        shift = objective.shift.numpy().astype(np.float64)
        if objective.goal == "numbers":
            weight, bias = weight / shift[:, 1:], (bias - shift[:, 0]) / shift[:, 1]
        self.linear.weight.copy_(torch.from_numpy(weight))
        self.linear.bias.copy_(torch.from_numpy(bias))
        self.standard.take(fitted[0])

    def export(self, objective: Objective) -> dict[str, Head]:
        """As heads of a probe, by label."""
        weight, bias = (tensor.detach().double().cpu().numpy() for tensor in self.linear.parameters())
        mean, scale = self.standard.arrays()
        if objective.goal == "classes":
            return {objective.names[0]: LinearHead(objective.classes, mean, scale, weight, bias, 0.0)}
        shift = objective.shift.numpy().astype(np.float64)
        return {
            name: LinearHead(
                objective.classes,
                mean,
                scale,
                weight[[row]] * shift[row, 1],
                bias[[row]] * shift[row, 1] + shift[row, 0],
                0.0,
            )
            for row, name in enumerate(objective.names)
        }


class AttentionHead(nn.Module):
    """A probe's attentive head for each label.

    Args:
        width: of the features.
        objective: the labels.
        follow: see `Standard`.
    """

    def __init__(self, width: int, objective: Objective, *, follow: bool = True) -> None:
        super().__init__()
        self.standard = Standard(width, follow=follow)
        self._outputs = len(objective.classes) or 1
        self.labels = nn.ModuleList(attention_module(width, self._outputs) for _ in objective.names)

    def forward(self, windows: Tensor, mask: Tensor) -> Tensor:
        """See `MeanHead.forward`."""
        rows = self.standard(windows)
        raw = [label(rows, mask) for label in self.labels]
        # of two classes one number says all
        return torch.cat([one[:, 1:] - one[:, :1] if self._outputs == 2 else one for one in raw], dim=1)

    @torch.no_grad()
    def start(self, heads: Sequence[Head], objective: Objective) -> None:
        """Take the weights of a probe of the same labels."""
        for module, head in zip(self.labels, heads, strict=True):
            assert isinstance(head, AttentiveHead)
            module.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in head.state.items()})
            self.standard.take(head)

    def export(self, objective: Objective) -> dict[str, Head]:
        """As heads of a probe, by label."""
        mean, scale = self.standard.arrays()
        shift = objective.shift.tolist()
        found: dict[str, Head] = {}
        for index, (name, module) in enumerate(zip(objective.names, self.labels, strict=True)):
            state = {key: tensor.detach().float().cpu().numpy() for key, tensor in module.state_dict().items()}
            own = (shift[index][0], shift[index][1])
            found[name] = AttentiveHead(objective.classes, mean, scale, state, 0.0, 0, own)
        return found


def make_head(kind: str, width: int, objective: Objective, *, follow: bool = True) -> MeanHead | AttentionHead:
    """A head with random weights."""
    if kind == "linear":
        return MeanHead(width, objective.num_outputs, follow=follow)
    return AttentionHead(width, objective, follow=follow)


class FineTuned(nn.Module):
    """Encoder and head in one module, so that all calls go through its forward, as DDP requires.

    Its layers are numbered from below: 0 embeds patches, then come the blocks; the last norm belongs to the last block.

    Attributes:
        encoder: the encoder.
        head: the head.
        pool: what the head reads of a window.
        first_open: the lowest layer that is trained; those below compute no gradients.

    Args:
        encoder: with the weights to start from.
        head: from `make_head`, of the width of `feature_width`.
        pool: see `WindowPool`.
    """

    def __init__(self, encoder: Encoder, head: MeanHead | AttentionHead, *, pool: WindowPool = "mean") -> None:
        super().__init__()
        self.encoder, self.head, self.pool = encoder, head, pool
        self.first_open = 0

    @property
    def num_layers(self) -> int:
        """Layers of the encoder."""
        return len(self.encoder.blocks) + 1

    def forward(self, clips: Tensor) -> Tensor:
        """Windows of clips, float (B, W, 3, T, H, W) in [0, 1], to raw outputs float32 (B, O)."""
        batch, windows = clips.shape[:2]
        features = self.features(clips.flatten(0, 1)).reshape(batch, windows, -1)
        mask = torch.ones(batch, windows, dtype=torch.bool, device=clips.device)
        with torch.autocast(clips.device.type, enabled=False):
            out: Tensor = self.head(features, mask)
        return out

    def features(self, clips: Tensor) -> Tensor:
        """Windows (B, 3, T, H, W) to float32 (B, F), as extraction computes them."""
        with self._closed(0):
            x = self.encoder.embed(clips)
        for layer, block in enumerate(self.encoder.blocks, start=1):
            with self._closed(layer):
                x = block(x)
        norm = self.encoder.norm
        with self._closed(len(self.encoder.blocks)):
            x = (x.mean(dim=1) if self.pool == "mean" else x).float()
            x = F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
            return x if self.pool == "mean" else pool_time(x, self.encoder.config).flatten(1)

    def layers(self) -> Iterator[list[nn.Parameter]]:
        """The trainable parameters of each layer, from below; the head's are the last."""
        yield _trainable(self.encoder.patch_embedding)
        *lower, last = self.encoder.blocks
        for block in lower:
            yield _trainable(block)
        yield [*_trainable(last), *_trainable(self.encoder.norm)]
        yield _trainable(self.head)

    def _closed(self, layer: int) -> AbstractContextManager[Any]:
        return torch.no_grad() if layer < self.first_open else nullcontext()


def feature_width(config: ModelConfig, pool: WindowPool) -> int:
    """Numbers that the head reads of a window."""
    return math.prod(pooled_shape(pool, config))


def _trainable(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
