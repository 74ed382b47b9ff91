"""Assembles the parts of a `Marlin` from a network: its inference backend, its detector, its decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import torch

from marlin_sdk.clips.calibration import CalibrationSource, read_calibration
from marlin_sdk.face.detectors import FaceDetector, check_detector, load_detector
from marlin_sdk.face.recognition import FaceRecogniser, check_recogniser, load_recogniser
from marlin_sdk.model import Decoder, Encoder, MaskedAutoencoder
from marlin_sdk.runtime import EncoderRuntime, RuntimeName
from marlin_sdk.runtime.choice import RuntimeChoice, choose_runtime

__all__ = ["LoadKeywords", "LoadOptions", "ModelParts"]


class ModelParts(TypedDict):
    """The arguments of `Marlin`."""

    runtime: EncoderRuntime
    detector: FaceDetector | Callable[[], FaceDetector]
    recogniser: FaceRecogniser | Callable[[], FaceRecogniser]
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
    recogniser: str | Path | FaceRecogniser
    decoder: bool
    cache_dir: str | Path | None
    local_files_only: bool


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How a model is loaded, independent of its weights.

    Attributes:
        device: "auto" (CUDA if available), "cpu", "cuda", "cuda:1".
        dtype: "float32", "bfloat16" or "float16", of weights and arithmetic, or "int8" with runtime="openvino";
            features are always float32.
        runtime: the inference backend: "torch"; "openvino" (faster on a CPU; extra [openvino]; float32, bfloat16,
            int8); "onnx" (ONNX Runtime; extra [onnx]; float32). The latter two store a converted model in
            `MARLIN_HOME`.
        compile: use torch.compile for the encoder: takes a minute, then runs a few per cent faster.
        calibration: videos, or uint8 clips (N, 16, 224, 224, 3), for dtype="int8"; by default a set made from
            scikit-image's picture of an astronaut. Your own clips fit your videos better.
        detector: see `marlin_sdk.face.detectors.load_detector`; downloaded when first needed.
        recogniser: for `identify=True`: "sface" (downloaded when first needed), the path of its `.onnx` file, or an
            object that implements `FaceRecogniser`.
        decoder: load the decoder too (of a published model: another, larger file).
        cache_dir: folder of downloads; by default the Hub's own cache, and `MARLIN_HOME` for other files.
        local_files_only: do not access the network.

    Raises:
        ConfigError: an unknown device, dtype, runtime or detector, or an unsupported combination.
        MissingExtraError: the runtime is not installed.
    """

    device: str | torch.device = "auto"
    dtype: str | torch.dtype = "float32"
    runtime: RuntimeName = "torch"
    compile: bool = False
    calibration: CalibrationSource | None = None
    detector: str | Path | FaceDetector = "yunet"
    recogniser: str | Path | FaceRecogniser = "sface"
    decoder: bool = False
    cache_dir: str | Path | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        _ = self.choice  # validates before anything is downloaded
        check_detector(self.detector)
        check_recogniser(self.recogniser)

    @cached_property
    def choice(self) -> RuntimeChoice:
        """Backend, device and dtype, validated."""
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
            MarlinError: a calibration video cannot be read, or a converted model cannot be stored on disk.
        """
        encoder, decoder = (network, None) if isinstance(network, Encoder) else (network.encoder, network.decoder)
        source = self.calibration
        clips = None if source is None else read_calibration(source, encoder.config, self.load_detector)
        runtime = self.choice.build(encoder, identity, clips)
        if decoder is not None:
            decoder.eval().to(device=self.choice.device, dtype=self.choice.dtype)
        return {
            "runtime": runtime,
            "detector": self.load_detector,
            "recogniser": self.load_recogniser,
            "identity": identity,
            "decoder": decoder,
        }

    def load_detector(self) -> FaceDetector:
        """Load the detector, downloading its weights if it needs any.

        Raises:
            DownloadError: they cannot be downloaded.
            WeightsError: they are invalid.
        """
        return load_detector(
            self.detector,
            device=str(self.choice.device),
            cache_dir=self.cache_dir,
            local_files_only=self.local_files_only,
        )

    def load_recogniser(self) -> FaceRecogniser:
        """Load the recogniser, downloading its weights if it needs any.

        Raises:
            DownloadError: they cannot be downloaded.
            WeightsError: they are invalid.
        """
        return load_recogniser(self.recogniser, cache_dir=self.cache_dir, local_files_only=self.local_files_only)
