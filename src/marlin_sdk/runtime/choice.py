"""Choice of runtime, device and dtype: validated before any download, built once the weights are loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch

from marlin_sdk.errors import ConfigError
from marlin_sdk.model import Encoder
from marlin_sdk.runtime import EncoderRuntime, RuntimeName
from marlin_sdk.runtime.calibration import CalibrationSet, built_in_calibration
from marlin_sdk.runtime.cpu import cpu_flags, describe_missing_features
from marlin_sdk.runtime.torch import TorchRuntime, resolve_device, resolve_dtype

__all__ = ["RuntimeChoice", "choose_runtime"]

_log = logging.getLogger("marlin_sdk")
_DTYPES: dict[str, tuple[str, ...]] = {
    "torch": ("float32", "bfloat16", "float16"),
    "openvino": ("float32", "bfloat16", "int8"),
    "onnx": ("float32",),
}


@dataclass(frozen=True)
class RuntimeChoice:
    """A choice that `choose_runtime` has validated.

    Attributes:
        name: the inference backend.
        device: the device it runs on; the CPU for all but torch.
        dtype: float32, bfloat16, float16 or int8.
        compile: whether to use torch.compile.
    """

    name: RuntimeName
    device: torch.device
    dtype: torch.dtype
    compile: bool = False

    def build(
        self, encoder: Encoder, identity: Mapping[str, Any], calibration: CalibrationSet | None = None
    ) -> EncoderRuntime:
        """Build the runtime of an encoder.

        Args:
            encoder: float32, on the CPU.
            identity: of the weights; names the converted model on disk.
            calibration: for int8; by default the built-in set.
        Raises:
            MissingExtraError: the runtime is not installed.
            ConfigError: a converted model cannot be stored on disk.
        """
        if self.name == "torch":
            return TorchRuntime(encoder, device=self.device, dtype=self.dtype, compile=self.compile)
        if self.name == "onnx":
            from marlin_sdk.runtime.onnx import OnnxRuntime

            return OnnxRuntime.convert(encoder, identity)
        from marlin_sdk.runtime.openvino import OpenVinoRuntime

        return OpenVinoRuntime.convert(
            encoder, identity, dtype=self.dtype, calibration=calibration or built_in_calibration(encoder.config)
        )


def choose_runtime(
    name: str,
    *,
    device: str | torch.device,
    dtype: str | torch.dtype,
    compile: bool = False,
    decoder: bool = False,
    calibrated: bool = False,
) -> RuntimeChoice:
    """Validate a choice, and check that the required packages are installed.

    Args:
        name: "torch", "openvino" or "onnx".
        device: "auto", "cpu", "cuda", "cuda:1"; all but torch support only the CPU.
        dtype: "float32" with each; "bfloat16" with torch and openvino; "float16" with torch; "int8" with openvino.
        compile: let torch compile the encoder.
        decoder: whether the decoder is needed too.
        calibrated: whether the user passes calibration clips.
    Raises:
        ConfigError: an unknown runtime, device or dtype, an unsupported combination, or a dtype that the CPU can only
            emulate.
        MissingExtraError: the runtime is not installed.
    """
    if name not in get_args(RuntimeName):
        raise ConfigError(f"unknown runtime {name!r}; expected one of {', '.join(get_args(RuntimeName))}")
    resolved = torch.device("cpu") if name != "torch" and str(device) == "auto" else resolve_device(device)
    precision = resolve_dtype(dtype)
    dtype_name = str(precision).removeprefix("torch.")
    if dtype_name not in _DTYPES[name]:
        supporting = [runtime for runtime, dtypes in _DTYPES.items() if dtype_name in dtypes]
        raise ConfigError(
            f"unknown dtype {dtype_name!r} for runtime={name!r}; expected one of {', '.join(_DTYPES[name])} "
            f"({dtype_name} needs runtime={' or '.join(map(repr, supporting))})"
        )
    if name != "torch":
        _check_converted(name, resolved, compile=compile, decoder=decoder)
    if calibrated and precision != torch.int8:
        raise ConfigError(f"calibration= is for dtype='int8'; got dtype={dtype_name!r}")
    if resolved.type == "cpu" and (missing := describe_missing_features(dtype_name, cpu_flags())):
        if name != "torch" and precision == torch.bfloat16:
            raise ConfigError(f"{missing}, so OpenVINO would compute in float32; use dtype='float32'")
        _log.warning("%s: expect it to be slower than float32", missing)
    return RuntimeChoice(name, resolved, precision, compile)  # type: ignore[arg-type]  # checked above


def _check_converted(name: str, device: torch.device, *, compile: bool, decoder: bool) -> None:
    if device.type != "cpu":
        raise ConfigError(f"runtime={name!r} runs on the CPU; got device={str(device)!r}, which needs runtime='torch'")
    if compile:
        raise ConfigError(f"compile=True needs runtime='torch'; runtime={name!r} always compiles")
    if decoder:
        raise ConfigError(f"decoder=True needs runtime='torch'; runtime={name!r} has only the encoder")
    if name == "onnx":
        from marlin_sdk.runtime.onnx import import_onnxruntime

        import_onnxruntime()
    else:
        from marlin_sdk.runtime.openvino import import_openvino

        import_openvino()
