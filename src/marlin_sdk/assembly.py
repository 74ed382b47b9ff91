"""From a network to what a `Marlin` holds: its inference backend, its detector, its decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import torch

from marlin_sdk.clips.calibration import CalibrationSource, read_calibration
from marlin_sdk.face.detectors import FaceDetector, check_detector, load_detector
from marlin_sdk.model import Decoder, Encoder, MaskedAutoencoder
from marlin_sdk.runtime import EncoderRuntime, RuntimeName
from marlin_sdk.runtime.choice import RuntimeChoice, choose_runtime

__all__ = ["LoadKeywords", "LoadOptions", "ModelParts"]


class ModelParts(TypedDict):
    """The arguments of `Marlin`."""

    runtime: EncoderRuntime
    detector: FaceDetector | Callable[[], FaceDetector]
    identity: Mapping[str, Any]
    decoder: Decoder | None


class LoadKeywords(TypedDict, total=False):
    """The keyword form of `LoadOptions`."""

    device: str | torch.device
    dtype: str | torch.dtype
    runtime: RuntimeName
    compile: bool
    calibration: CalibrationSource | None
    detector: str | Path | FaceDetector
    decoder: bool
    cache_dir: str | Path | None
    local_files_only: bool


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is loaded, whatever its weights.

    Attributes:
        device: "auto" (CUDA where there is one), "cpu", "cuda", "cuda:1".
        dtype: "float32", "bfloat16" or "float16", of weights and arithmetic, or "int8" with runtime="openvino";
            features are float32 in any case.
        runtime: the inference backend: "torch"; "openvino" (faster on a CPU; extra [openvino]; float32, bfloat16,
            int8); "onnx" (ONNX Runtime; extra [onnx]; float32). The latter two keep a converted model in
            `MARLIN_HOME`.
        compile: let torch compile the encoder: a minute's wait, then a few per cent.
        calibration: videos, or uint8 clips (N, 16, 224, 224, 3), for dtype="int8"; by default a set made from
            scikit-image's picture of an astronaut. Yours fit your videos better.
        detector: see `marlin_sdk.face.detectors.load_detector`; fetched when first needed.
        decoder: load the decoder too (of a published model: another, larger file).
        cache_dir: where downloads lie; by default the Hub's own cache, and `MARLIN_HOME` for other files.
        local_files_only: touch no network.

    Raises:
        ConfigError: an unknown device, dtype, runtime or detector, or two that do not go together.
        MissingExtraError: the runtime is not installed.
    """

    device: str | torch.device = "auto"
    dtype: str | torch.dtype = "float32"
    runtime: RuntimeName = "torch"
    compile: bool = False
    calibration: CalibrationSource | None = None
    detector: str | Path | FaceDetector = "yunet"
    decoder: bool = False
    cache_dir: str | Path | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        _ = self.choice  # what cannot be used is found out before anything is downloaded
        check_detector(self.detector)

    @cached_property
    def choice(self) -> RuntimeChoice:
        """Backend, device and dtype, checked."""
        return choose_runtime(
            self.runtime,
            device=self.device,
            dtype=self.dtype,
            compile=self.compile,
            decoder=self.decoder,
            calibrated=self.calibration is not None,
        )

    def assemble(self, network: Encoder | MaskedAutoencoder, identity: Mapping[str, Any]) -> ModelParts:
        """Build the backend of a network on its device.

        Args:
            network: float32, on the CPU.
            identity: of its weights.
        Raises:
            DeviceMemoryError: the weights do not fit into the device's memory.
            MarlinError: a calibration video cannot be read, or a converted model cannot be kept on disk.
        """
        encoder, decoder = (network, None) if isinstance(network, Encoder) else (network.encoder, network.decoder)
        source = self.calibration
        clips = None if source is None else read_calibration(source, encoder.config, self.load_detector)
        runtime = self.choice.build(encoder, identity, clips)
        if decoder is not None:
            decoder.eval().to(device=self.choice.device, dtype=self.choice.dtype)
        return {"runtime": runtime, "detector": self.load_detector, "identity": identity, "decoder": decoder}

    def load_detector(self) -> FaceDetector:
        """Make the detector, fetching its weights where it has any.

        Raises:
            DownloadError: they cannot be had.
            WeightsError: they are not what they should be.
        """
        return load_detector(
            self.detector,
            device=str(self.choice.device),
            cache_dir=self.cache_dir,
            local_files_only=self.local_files_only,
        )
