"""Inference backends of the encoder, behind one protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from marlin_sdk.config import ModelConfig

__all__ = ["EncoderRuntime", "RuntimeName", "calibration", "choice", "inputs", "pooling", "torch"]

RuntimeName = Literal["torch", "openvino", "onnx"]


class EncoderRuntime(Protocol):
    """Inference backend of the encoder: clips to features, on its device and in its precision."""

    @property
    def config(self) -> ModelConfig:
        """The size of the model."""

    @property
    def device(self) -> torch.device:
        """The device of the features."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights: float32, bfloat16, float16, or int8 for a quantised model."""

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What determines the features besides weights and dtype: name, version, calibration; plain values."""

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        """Move the weights; None changes nothing.

        Raises:
            ConfigError: this runtime cannot be moved.
        """

    def encode(self, clips: Tensor, *, keep_seq: bool = False, layers: Sequence[int] | None = None) -> Tensor:
        """Embed clips.

        Args:
            clips: uint8 (B, 16, 224, 224, 3), or float (B, 3, 16, 224, 224) in [0, 1]; on any device.
            keep_seq: return the tokens instead of their pooled vector.
            layers: return the outputs of these blocks instead of the last one's, stacked in a second dimension.
        Returns:
            float32 (B, D); (B, 1568, D) with `keep_seq`; (B, len(layers), ...) with `layers`.
        """
