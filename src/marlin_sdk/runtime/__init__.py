"""Inference backends for the encoder, behind one Protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from marlin_sdk.config import ModelConfig

__all__ = ["EncoderRuntime", "RuntimeName", "calibration", "choice", "inputs", "torch"]

RuntimeName = Literal["torch", "openvino", "onnx"]


class EncoderRuntime(Protocol):
    """Turns clips into features, wherever and in whatever precision it runs."""

    @property
    def config(self) -> ModelConfig:
        """The size of the model."""

    @property
    def device(self) -> torch.device:
        """Where features come back."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights: float32, bfloat16, float16, or int8 for a quantised model."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What, beside weights and dtype, decides the features: name, version, calibration; plain values."""

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        """Move the weights; None leaves a thing as it is.

        Raises:
            ConfigError: this runtime stays where it was made.
        """

    def encode(self, clips: Tensor, *, keep_seq: bool = False, layers: Sequence[int] | None = None) -> Tensor:
        """Embed clips.

        Args:
            clips: uint8 (B, 16, 224, 224, 3), or float (B, 3, 16, 224, 224) in [0, 1]; on any device.
            keep_seq: keep the tokens instead of their pooled vector.
            layers: give the output of these blocks instead of the last one's, stacked in a second dimension.
        Returns:
            float32 (B, D); (B, 1568, D) with `keep_seq`; (B, len(layers), ...) with `layers`.
        """
