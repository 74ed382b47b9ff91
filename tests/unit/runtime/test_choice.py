"""Runtime, device and dtype: supported combinations, and the errors for others."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
import torch

from marlin_sdk import Marlin
from marlin_sdk.errors import ConfigError, MissingExtraError
from marlin_sdk.runtime import choice
from marlin_sdk.runtime.choice import choose_runtime

OLD_CPU = frozenset({"sse4_2", "avx2"})


def _choose(**settings: Any) -> choice.RuntimeChoice:
    return choose_runtime(**{"name": "torch", "device": "cpu", "dtype": "float32", **settings})


def test_default_is_torch_in_float32() -> None:
    assert _choose() == choice.RuntimeChoice("torch", torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("name", ["openvino", "onnx"])
def test_converted_models_run_on_the_cpu_even_if_auto_is_cuda(name: str) -> None:
    assert _choose(name=name, device="auto").device == torch.device("cpu")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "tensorrt"}, "unknown runtime 'tensorrt'; expected one of torch, openvino, onnx"),
        ({"dtype": "int8"}, r"unknown dtype 'int8' for runtime='torch'.*int8 needs runtime='openvino'"),
        (
            {"name": "openvino", "dtype": "float16"},
            r"'float16' for runtime='openvino'; expected one of float32, bfloat16",
        ),
        ({"name": "onnx", "dtype": "bfloat16"}, r"bfloat16 needs runtime='torch' or 'openvino'"),
        ({"name": "onnx", "dtype": torch.int8}, r"int8 needs runtime='openvino'"),
        ({"name": "openvino", "compile": True}, "compile=True needs runtime='torch'"),
        ({"name": "onnx", "decoder": True}, "decoder=True needs runtime='torch'"),
        ({"calibrated": True}, "calibration= is for dtype='int8'; got dtype='float32'"),
        ({"name": "openvino", "device": "tpu"}, "unknown device 'tpu'"),
    ],
)
def test_unsupported_combinations_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _choose(**settings)


def test_cuda_is_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "resolve_device", torch.device)
    with pytest.raises(ConfigError, match=r"runtime='openvino' runs on the CPU; got device='cuda:1'"):
        _choose(name="openvino", device="cuda:1")


def test_dtype_that_the_cpu_only_emulates_is_reported(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "cpu_flags", lambda: OLD_CPU)
    _choose()
    assert not caplog.text
    _choose(dtype="bfloat16")
    assert "no instructions for bfloat16" in caplog.text
    assert "expect it to be slower than float32" in caplog.text
    caplog.clear()
    _choose(name="openvino", dtype="int8")
    assert "no instructions for int8" in caplog.text
    with pytest.raises(ConfigError, match="so OpenVINO would compute in float32; use dtype='float32'"):
        _choose(name="openvino", dtype="bfloat16")


@pytest.mark.parametrize(("name", "package"), [("openvino", "openvino"), ("onnx", "onnx"), ("onnx", "onnxruntime")])
def test_missing_extra_is_named_with_its_pip_line(monkeypatch: pytest.MonkeyPatch, name: str, package: str) -> None:
    real = builtins.__import__

    def without(module: str, *rest: Any) -> Any:
        if module == package:
            raise ImportError(f"No module named {package!r}")
        return real(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=rf"pip install 'marlin-sdk\[{name}\]'"):
        Marlin.from_pretrained("marlin_vit_base_ytf", runtime=name, local_files_only=True)  # type: ignore[arg-type]
