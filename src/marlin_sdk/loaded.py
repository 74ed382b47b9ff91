"""A loaded model: its inference backend, weights, detector and decoder, and their properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from pathlib import Path
from tempfile import TemporaryDirectory
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
from marlin_sdk.weights.in_memory import WeightsInMemory, describe
from marlin_sdk.weights.publish import save_folder
from marlin_sdk.weights.upload import push_to_hub

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LoadedModel"]


class LoadedModel(Locked):
    """The parts of a `Marlin`, and their properties.

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
        self._decoder = decoder
        networks = {"encoder": runtime.encoder} if isinstance(runtime, TorchRuntime) else {}
        self._weights = WeightsInMemory(identity, {**networks, **({} if decoder is None else {"decoder": decoder})})

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
        """Identity of the weights: name, Hub commit or sha256, config, whether they are untrained.

        Of weights that were changed since they were loaded: the sha256 of the file that `save_pretrained` would write.
        """
        return self._weights.identity

    @property
    def runtime(self) -> Mapping[str, Any]:
        """The inference backend: name and version, and for int8 its calibration set."""
        return self._runtime.provenance

    @property
    def name(self) -> str:
        """Name of the weights: a published name, a repo id, a path."""
        return str(self.identity["model"])

    @property
    def is_untrained(self) -> bool:
        """Whether the weights are random."""
        return bool(self.identity["untrained"])

    @property
    def encoder(self) -> Encoder:
        """The torch network that computes features, frozen: call it directly if you need gradients.

        `model.encoder.requires_grad_()` makes it trainable, and `model.encoder.blocks[-4:].requires_grad_()` its last
        blocks. It takes floats (B, 3, 16, 224, 224) in [0, 1], in the dtype of the weights. What is trained is what
        `extract` uses from then on.

        Raises:
            ConfigError: the runtime is not torch.
        """
        encoder = self._encoder
        self._weights.give_away()
        return encoder

    @property
    def decoder(self) -> Decoder | None:
        """The torch network that reconstructs masked tubelets, frozen; None if it was not loaded."""
        if self._decoder is not None:
            self._weights.give_away()
        return self._decoder

    @property
    def _encoder(self) -> Encoder:
        if not isinstance(self._runtime, TorchRuntime):
            name = self._runtime.provenance["name"]
            raise ConfigError(
                f"runtime={name!r} holds no torch network, to train or to save; load with runtime='torch' for that"
            )
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
        precision = self.dtype if dtype is None else resolve_dtype(dtype)
        # Weights that were rounded once are not those that are loaded in another precision.
        as_loaded = not self._weights.is_changed and self.dtype in (precision, torch.float32)
        self._runtime.to(resolved, precision)
        if self._decoder is not None:
            self._decoder.to(device=self.device, dtype=self.dtype)
        self._weights.moved(as_loaded=as_loaded)
        return self

    def with_detector(self, detector: FaceDetector | Callable[[], FaceDetector]) -> Self:
        """The same networks, not copied, with another detector.

        Args:
            detector: the detector, or a function that makes it, called when first needed.
        """
        other = copy(self)
        other._detector = detector
        return other

    def save_pretrained(
        self,
        folder: str | Path,
        *,
        name: str | None = None,
        licence: str | None = None,
        marlin_pytorch: bool = True,
        overwrite: bool = False,
    ) -> None:
        """Write the weights as they are, as a folder for `from_pretrained` and the Hub.

        The folder holds `config.json` and `model.safetensors`, which the published model class (transformers) reads
        too, a model card `README.md`, and `SHA256SUMS`. It appears whole, or not at all. The decoder is part of it if
        it was loaded.

        Args:
            folder: where.
            name: of the model, on its card; by default that of the folder.
            licence: an identifier of the Hub's list, such as "mit". Weights that derive from the published ones keep
                their CC BY-NC 4.0, and so do those from a folder whose card states it.
            marlin_pytorch: write `marlin.encoder.pt` (with a decoder `marlin.full.pt`) and `marlin.yaml` too, the
                formats that the package marlin-pytorch reads; they hold the weights once more.
            overwrite: replace the model in a folder that is not empty; its other files stay.
        Raises:
            ConfigError: the folder is not empty, or cannot be written; another licence than CC BY-NC 4.0 for weights
                that derive from such; or the runtime is not torch.
            WeightsError: the networks were changed so that they are no MARLIN model, such as by adapters that are not
                merged; or a weight is NaN or infinite.
        """
        size = self.config if self._decoder is not None else self.config.without_decoder()
        _ = self._encoder  # of another runtime there is none
        card = describe(name or Path(folder).resolve().name, self._weights, size, licence)
        save_folder(Path(folder), self._weights.state(), card, reference=marlin_pytorch, overwrite=overwrite)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        token: str | bool | None = None,
        private: bool = True,
        licence: str | None = None,
        message: str | None = None,
    ) -> str:
        """Upload the weights as they are to the Hub, with a model card.

        Args:
            repo_id: "owner/name"; created if it does not exist.
            token: a token that may write; None uses the one you are logged in with.
            private: whether a new repo is private.
            licence: as in `save_pretrained`.
            message: of the commit.
        Returns:
            The URL of the commit.
        Raises:
            ConfigError, WeightsError: as in `save_pretrained`, or `repo_id` cannot be the name of a repo.
            DownloadError: there is no token, or the Hub cannot be reached, or rejects the upload.
        """
        with TemporaryDirectory() as parent:
            folder = Path(parent) / "model"
            self.save_pretrained(folder, name=repo_id, licence=licence, marlin_pytorch=False)
            return push_to_hub(folder, repo_id, token=token, private=private, message=message)
