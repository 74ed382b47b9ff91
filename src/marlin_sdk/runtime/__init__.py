"""Who multiplies: encoder runtimes behind one Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from marlin_sdk.config import ModelConfig

__all__ = ["EncoderRuntime"]


class EncoderRuntime(Protocol):
    """Turns clips into features, wherever and in whatever precision it runs."""

    @property
    def config(self) -> ModelConfig:
        """The size of the model."""

    def encode(self, clips: Tensor, *, keep_seq: bool = False, layers: Sequence[int] | None = None) -> Tensor:
        """Embed clips.

        Args:
            clips: uint8 (B, 16, 224, 224, 3), or float (B, 3, 16, 224, 224) in [0, 1]; on any device.
            keep_seq: keep the tokens instead of their pooled vector.
            layers: give the output of these blocks instead of the last one's, stacked in a second dimension.
        Returns:
            float32 (B, D); (B, 1568, D) with `keep_seq`; (B, len(layers), ...) with `layers`.
        """
