"""Parts of a step that every training has: accumulated gradients, clipping, recomputed blocks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.wrappers import _FabricModule, _FabricOptimizer

__all__ = ["EncoderSettings", "adamw_around", "clip_gradients", "no_sync", "recompute"]


class EncoderSettings(Protocol):
    """The settings of AdamW for new layers around an encoder."""

    @property
    def base_lr(self) -> float:
        """Learning rate of the new layers, before the schedule."""

    @property
    def encoder_lr(self) -> float:
        """That of the encoder, as a share; 0 leaves it as it is."""

    @property
    def betas(self) -> tuple[float, float]:
        """Of AdamW."""

    @property
    def weight_decay(self) -> float:
        """Of AdamW, on matrices and kernels only."""


def adamw_around(network: nn.Module, config: EncoderSettings) -> torch.optim.AdamW:
    """AdamW without weight decay of vectors, for new layers around an encoder.

    Each group has a `share`: of the learning rate of the new layers, to be set by the caller in each step.

    Args:
        network: its encoder is called `encoder`.
        config: rates, decay.
    """
    groups = []
    for of_encoder, share in ((False, 1.0), (True, config.encoder_lr)):
        named = [p for name, p in network.named_parameters() if name.startswith("encoder.") == of_encoder]
        for are_matrices, decay in ((True, config.weight_decay), (False, 0.0)):
            parameters = [p for p in named if p.requires_grad and (p.ndim > 1) == are_matrices]
            if parameters:
                groups.append({"params": parameters, "weight_decay": decay, "share": share})
    return torch.optim.AdamW(groups, lr=config.base_lr, betas=config.betas)


def no_sync(fabric: Fabric, module: _FabricModule, *, enabled: bool) -> AbstractContextManager[Any]:
    """Leave gradients of this batch in their process, if `enabled`: the last batch of a step averages them."""
    if fabric.world_size == 1:
        return nullcontext()
    return fabric.no_backward_sync(module, enabled=enabled)


def clip_gradients(fabric: Fabric, module: _FabricModule, optimizer: _FabricOptimizer, max_norm: float) -> None:
    """Scale gradients to a norm of at most `max_norm`.

    Raises:
        FloatingPointError: the norm is NaN or infinite on any process.
    """
    try:
        fabric.clip_gradients(module, optimizer, max_norm=max_norm)
    except RuntimeError as error:
        if "non-finite" not in str(error):
            raise
        raise FloatingPointError("its gradient norm is not finite") from error


def recompute(block: nn.Module) -> None:
    """Activation checkpointing: store a block's input instead of its activations."""
    forward = block.forward

    def recomputed(x: Tensor) -> Tensor:
        return cast(Tensor, checkpoint(forward, x, use_reentrant=False))

    block.forward = recomputed
