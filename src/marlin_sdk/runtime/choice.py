"""A user's choice of runtime, device and dtype: checked before anything is downloaded, built once there are weights."""

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
    """What `choose_runtime` found fit to be used.

    Attributes:
        name: who multiplies.
        device: where; the CPU for all but torch.
        dtype: float32, bfloat16, float16 or int8.
        compile: whether torch compiles.
    """

    name: RuntimeName
    device: torch.device
    dtype: torch.dtype
    compile: bool = False

    def build(
        self, encoder: Encoder, identity: Mapping[str, Any], calibration: CalibrationSet | None = None
    ) -> EncoderRuntime:
        """The runtime of an encoder.

        Args:
            encoder: float32, on the CPU.
            identity: of the weights; names the converted model on disk.
            calibration: for int8; by default the built-in set.
        Raises:
            MissingExtraError: the runtime is not installed.
            ConfigError: a converted model cannot be kept on disk.
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
    """Check a choice, and that what it needs is installed.

    Args:
        name: "torch", "openvino" or "onnx".
        device: "auto", "cpu", "cuda", "cuda:1"; only torch leaves the CPU.
        dtype: "float32" with each; "bfloat16" with torch and openvino; "float16" with torch; "int8" with openvino.
        compile: let torch compile the encoder.
        decoder: whether a decoder is wanted too.
        calibrated: whether the user gives calibration clips.
    Raises:
        ConfigError: no such runtime, device or dtype, or not together, or the CPU can only imitate the dtype.
        MissingExtraError: the runtime is not installed.
    """
    if name not in get_args(RuntimeName):
        raise ConfigError(f"unknown runtime {name!r}; expected one of {', '.join(get_args(RuntimeName))}")
    where = torch.device("cpu") if name != "torch" and str(device) == "auto" else resolve_device(device)
    precision = resolve_dtype(dtype)
    short = str(precision).removeprefix("torch.")
    if short not in _DTYPES[name]:
        able = [runtime for runtime, dtypes in _DTYPES.items() if short in dtypes]
        raise ConfigError(
            f"unknown dtype {short!r} for runtime={name!r}; expected one of {', '.join(_DTYPES[name])} "
            f"({short} needs runtime={' or '.join(map(repr, able))})"
        )
    if name != "torch":
        _check_converted(name, where, compile=compile, decoder=decoder)
    if calibrated and precision != torch.int8:
        raise ConfigError(f"calibration= is for dtype='int8'; got dtype={short!r}")
    if where.type == "cpu" and (lack := describe_missing_features(short, cpu_flags())):
        if name != "torch" and precision == torch.bfloat16:
            raise ConfigError(f"{lack}, so OpenVINO would compute in float32; use dtype='float32'")
        _log.warning("%s: expect it to be slower than float32", lack)
    return RuntimeChoice(name, where, precision, compile)  # type: ignore[arg-type]  # checked above


def _check_converted(name: str, device: torch.device, *, compile: bool, decoder: bool) -> None:
    if device.type != "cpu":
        raise ConfigError(f"runtime={name!r} runs on the CPU; got device={str(device)!r}, which needs runtime='torch'")
    if compile:
        raise ConfigError(f"compile=True is torch's; runtime={name!r} compiles in any case")
    if decoder:
        raise ConfigError(f"decoder=True needs runtime='torch'; runtime={name!r} holds the encoder alone")
    if name == "onnx":
        from marlin_sdk.runtime.onnx import import_onnxruntime

        import_onnxruntime()
    else:
        from marlin_sdk.runtime.openvino import import_openvino

        import_openvino()
