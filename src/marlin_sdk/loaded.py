"""A loaded model: its inference backend, weights, detector and decoder, and their properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.face.recognition import FaceRecogniser
from marlin_sdk.locked import Locked
from marlin_sdk.model import Decoder, Encoder
from marlin_sdk.runtime import EncoderRuntime
from marlin_sdk.runtime.torch import DTYPES, TorchRuntime, resolve_device, resolve_dtype

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LoadedModel"]


class LoadedModel(Locked):
    """The parts of a `Marlin`, and their properties.

    Attributes:
        decoder: reconstructs masked tubelets; None if it was not loaded.

    Args:
        runtime: the inference backend.
        detector: the face detector, or a function that makes it, called when first needed.
        recogniser: the same of the face recogniser, for `identify=True`.
        identity: of the weights, for the metadata of features.
        decoder: of the same model.
    """

    def __init__(
        self,
        runtime: EncoderRuntime,
        *,
        detector: FaceDetector | Callable[[], FaceDetector],
        recogniser: FaceRecogniser | Callable[[], FaceRecogniser],
        identity: Mapping[str, Any],
        decoder: Decoder | None = None,
    ) -> None:
        super().__init__()
        self._runtime = runtime
        self._detector = detector
        self._recogniser = recogniser
        self._identity = dict(identity)
        self.decoder = decoder

    def __repr__(self) -> str:
        """Weights, size, precision, device, backend and detector."""
        weights = f"{self.name}, untrained" if self.is_untrained else self.name
        made = self._detector if isinstance(self._detector, FaceDetector) else None
        detector = f", detector {made.name}" if made else ""
        return (
            f"{type(self).__name__}({weights}: {self.embedding_dim} dims, {str(self.dtype).removeprefix('torch.')} on "
            f"{self.device}, {self.runtime['name']} {self.runtime['version']}{detector})"
        )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Identity of the weights: name, Hub commit or sha256, config, whether they are untrained."""
        return self._identity

    @property
    def runtime(self) -> Mapping[str, Any]:
        """The inference backend: name and version, and for int8 its calibration set."""
        return self._runtime.provenance

    @property
    def name(self) -> str:
        """Name of the weights: a published name, a repo id, a path."""
        return str(self._identity["model"])

    @property
    def is_untrained(self) -> bool:
        """Whether the weights are random."""
        return bool(self._identity["untrained"])

    @property
    def encoder(self) -> Encoder:
        """The torch network that computes features: call it directly if you need gradients.

        Raises:
            ConfigError: the runtime is not torch.
        """
        if not isinstance(self._runtime, TorchRuntime):
            name = self._runtime.provenance["name"]
            raise ConfigError(f"runtime={name!r} holds no torch network; load with runtime='torch' for model.encoder")
        return self._runtime.encoder

    @property
    def detector(self) -> FaceDetector:
        """The face detector; its weights are downloaded at the first access."""
        with self._lock:  # made once, whichever thread asks first
            if not isinstance(self._detector, FaceDetector):
                self._detector = self._detector()
            return self._detector

    @property
    def recogniser(self) -> FaceRecogniser:
        """The face recogniser of `identify=True`; its weights are downloaded at the first access."""
        with self._lock:
            if not isinstance(self._recogniser, FaceRecogniser):
                self._recogniser = self._recogniser()
            return self._recogniser

    def _get_detector(self) -> FaceDetector:
        return self.detector

    def _get_recogniser(self) -> FaceRecogniser:
        return self.recogniser

    @property
    def config(self) -> ModelConfig:
        """The size of the model."""
        return self._runtime.config

    @property
    def embedding_dim(self) -> int:
        """D: 384, 768 or 1024 for the published models."""
        return self.config.encoder_embed_dim

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._runtime.device

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self._runtime.dtype

    def to(
        self, device: str | torch.device | torch.dtype | None = None, dtype: str | torch.dtype | None = None
    ) -> Self:
        """Move the weights, in place.

        Args:
            device: as in `from_pretrained`; None leaves it unchanged. A dtype may be passed in its place.
            dtype: as in `from_pretrained`; None leaves it unchanged.
        Returns:
            The same object.
        Raises:
            ConfigError: unknown or unavailable device or dtype.
        """
        if isinstance(device, torch.dtype) or device in DTYPES:
            device, dtype = None, str(device)
        resolved = None if device is None else resolve_device(device)
        precision = None if dtype is None else resolve_dtype(dtype)
        self._runtime.to(resolved, precision)
        if self.decoder is not None:
            self.decoder.to(device=self.device, dtype=self.dtype)
        return self
