"""Parts of a step that every training has: accumulated gradients, clipping, recomputed blocks."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from lightning.fabric.wrappers import _FabricModule, _FabricOptimizer

__all__ = ["clip_gradients", "no_sync", "recompute"]


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
