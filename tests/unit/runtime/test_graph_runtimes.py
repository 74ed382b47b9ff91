"""OpenVINO and ONNX Runtime agree with torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from tests.conftest import ROOT
from tests.making import TINY, write_checkpoint, write_video
from torch.nn.functional import cosine_similarity

from marlin_sdk import Marlin, VideoFeatures
from marlin_sdk.cli.extract import main
from marlin_sdk.errors import ConfigError
from marlin_sdk.runtime import openvino as openvino_runtime
from marlin_sdk.runtime.cpu import cpu_flags, describe_missing_features

PIXELS = (
    np.random.default_rng(0).integers(0, 256, (5, 16, 2, 2, 3), dtype=np.uint8).repeat(16, axis=2).repeat(16, axis=3)
)
HAS_BF16 = describe_missing_features("bfloat16", cpu_flags()) is None and cpu_flags() is not None
# Runtime, dtype, and the least cosine with torch's float32.
WAYS: list[tuple[str, str, float]] = [
    ("openvino", "float32", 0.999999),
    ("onnx", "float32", 0.999999),
    ("openvino", "int8", 0.99),
    *([("openvino", "bfloat16", 0.999)] if HAS_BF16 else []),
]
OUTPUTS: list[tuple[bool, list[int] | None]] = [(False, None), (True, None), (False, [1, 0, -1]), (True, [0])]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("converted")


def _model(home: Path, **settings: Any) -> Marlin:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARLIN_HOME", str(home))
        return Marlin.untrained(TINY, device="cpu", detector="lbp", **settings)


@pytest.fixture(scope="module")
def models(home: Path) -> dict[tuple[str, str], Marlin]:
    return {(runtime, dtype): _model(home, runtime=runtime, dtype=dtype) for runtime, dtype, _ in WAYS}


@pytest.mark.parametrize(("keep_seq", "layers"), OUTPUTS)
@pytest.mark.parametrize(("runtime", "dtype", "least"), WAYS)
def test_every_output_agrees_with_torchs_float32(
    tiny: Marlin,
    models: dict[tuple[str, str], Marlin],
    runtime: str,
    dtype: str,
    least: float,
    keep_seq: bool,
    layers: Sequence[int] | None,
) -> None:
    expected = tiny.extract_clip(PIXELS, keep_seq=keep_seq, layers=layers)
    got = models[runtime, dtype].extract_clip(PIXELS, keep_seq=keep_seq, layers=layers)
    assert (got.shape, got.dtype) == (expected.shape, torch.float32)
    # A single token of 32 numbers is less precise than the mean of all.
    assert cosine_similarity(got, expected, dim=-1).min() > (0.97 if dtype == "int8" and keep_seq else least)
    if dtype == "float32":
        assert torch.allclose(got, expected, atol=1e-5)
    else:
        assert not torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize(("runtime", "dtype", "least"), WAYS)
def test_floats_and_bytes_are_the_same_and_rows_do_not_depend_on_neighbours(
    models: dict[tuple[str, str], Marlin], runtime: str, dtype: str, least: float
) -> None:
    model = models[runtime, dtype]
    rows = model.extract_clip(PIXELS)
    assert torch.equal(model.extract_clip(PIXELS.transpose(0, 4, 1, 2, 3).astype(np.float32) / 255), rows)
    assert torch.equal(model.extract_clip(PIXELS[3]), rows[3])


@pytest.mark.parametrize(("runtime", "dtype", "least"), WAYS)
def test_feature_file_records_the_runtime(
    models: dict[tuple[str, str], Marlin], tmp_path: Path, runtime: str, dtype: str, least: float
) -> None:
    meta = models[runtime, dtype].extract(np.concatenate([PIXELS[0], PIXELS[1]])).meta
    assert (meta["dtype"], meta["device"], meta["runtime"]["name"]) == (dtype, "cpu", runtime)
    assert meta["runtime"]["version"]
    if dtype == "int8":
        assert meta["runtime"]["calibration"] == {"name": "astronaut-1", "clips": 12}
        assert meta["runtime"]["not_quantised_in"] == ("bf16" if HAS_BF16 else "f32")


def test_torch_is_recorded_too(tiny: Marlin) -> None:
    assert tiny.extract(PIXELS[0]).meta["runtime"] == {"name": "torch", "version": torch.__version__, "compiled": False}


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_second_load_converts_nothing(
    home: Path, models: dict[tuple[str, str], Marlin], monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.delattr(f"marlin_sdk.runtime.{runtime}.{'build_graph' if runtime == 'openvino' else 'write_graph'}")
    again = _model(home, runtime=runtime)
    expected = models[runtime, "float32"].extract_clip(PIXELS)
    assert torch.equal(again.extract_clip(PIXELS), expected)
    with pytest.raises(NameError):  # other weights
        _model(home, runtime=runtime, seed=1)


def test_changed_weights_of_a_file_are_converted_again(tmp_path: Path, tiny: Marlin) -> None:
    """Two files under one name, one after the other: the converted model of the first is not used for the second."""
    rows = []
    for seed in (0, 1):
        folder = write_checkpoint(tmp_path / "mine", Marlin.untrained(TINY, seed=seed, device="cpu"))
        rows.append(
            Marlin.from_pretrained(folder, device="cpu", runtime="openvino", detector="lbp").extract_clip(PIXELS)
        )
    assert torch.allclose(rows[0], tiny.extract_clip(PIXELS), atol=1e-5)
    assert not torch.allclose(rows[0], rows[1], atol=1e-2)


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_torch_only_features_are_refused(models: dict[tuple[str, str], Marlin], runtime: str) -> None:
    model = models[runtime, "float32"]
    with pytest.raises(ConfigError, match=rf"runtime='{runtime}' holds no torch network.*load with runtime='torch'"):
        _ = model.encoder
    with pytest.raises(ConfigError, match=rf"runtime='{runtime}' cannot be moved.*load it again"):
        model.to(dtype="bfloat16")
    assert model.to("cpu", "float32") is model


def test_openvino_that_computes_in_another_precision_is_refused(
    models: dict[tuple[str, str], Marlin], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A CPU with unknown flags: only OpenVINO knows that the precision is not supported."""
    runtime = models["openvino", "float32"]._runtime
    assert isinstance(runtime, openvino_runtime.OpenVinoRuntime)
    real = openvino_runtime._core()

    class Refusing:
        read_model = real.read_model

        def compile_model(self, graph: Any, device: str, settings: dict[str, Any]) -> Any:
            return real.compile_model(graph, device, {**settings, "INFERENCE_PRECISION_HINT": "f32"})

    monkeypatch.setattr(openvino_runtime, "_core", Refusing)
    monkeypatch.setattr(runtime, "_precision", "bf16")
    with pytest.raises(ConfigError, match="OpenVINO computes in f32 on this CPU, not in bf16; use dtype='float32'"):
        runtime.open(("pooled_1",))


def test_no_telemetry_and_no_output_on_stdout() -> None:
    """OpenVINO and NNCF report their use to Google Analytics, and draw bars on stdout."""
    code = """
import sys
from tests.making import TINY
from marlin_sdk import Marlin
Marlin.untrained(TINY, device="cpu", runtime="openvino", dtype="int8", detector="lbp")
print(sorted(name for name in sys.modules if "telemetry" in name and sys.modules[name] and "openvino_" in name))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_command_accepts_a_runtime(tmp_path: Path, tiny: Marlin, runtime: str) -> None:
    write_video(tmp_path / "a.mp4", np.concatenate([PIXELS[0], PIXELS[1]]))
    folder = write_checkpoint(tmp_path / "mine", tiny)
    run = CliRunner().invoke(
        main,
        ["a.mp4", "-o", "out", "--model", str(folder), "--device", "cpu", "--runtime", runtime, "--detector", "lbp"],
    )
    assert run.exit_code == 0, run.output
    rows = VideoFeatures.load("out/a.npz")
    assert rows.meta["runtime"]["name"] == runtime
    assert np.allclose(rows.features, tiny.extract_video("a.mp4").numpy(), atol=1e-4)
    assert json.dumps(rows.meta)


HASWELL = frozenset({"avx2", "fma", "sse4_2"})


def test_int8_uses_half_the_range_of_weights_where_the_processor_saturates(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Emulated: an AVX2 processor adds pairs of int8 products in 16 bits."""
    import openvino

    def weights(folder: Path) -> int:
        (graph,) = (path for path in folder.rglob("*.xml") if "int8" in str(path))
        constants = (node for node in openvino.Core().read_model(graph).get_ordered_ops())
        levels = [node.get_data() for node in constants if node.get_type_name() == "Constant"]
        return max(int(np.abs(level.astype(np.int32)).max()) for level in levels if level.dtype == np.int8)

    monkeypatch.setenv("MARLIN_HOME", str(tmp_path / "vnni"))
    monkeypatch.setattr(openvino_runtime, "cpu_flags", lambda: HASWELL | {"avx512_vnni"})
    wide = Marlin.untrained(TINY, device="cpu", runtime="openvino", dtype="int8", detector="lbp")
    monkeypatch.setenv("MARLIN_HOME", str(tmp_path / "avx2"))
    monkeypatch.setattr(openvino_runtime, "cpu_flags", lambda: HASWELL)
    narrow = Marlin.untrained(TINY, device="cpu", runtime="openvino", dtype="int8", detector="lbp")
    assert (weights(tmp_path / "vnni"), weights(tmp_path / "avx2")) == (127, 64)
    assert "weights_range" not in wide.runtime
    assert narrow.runtime["weights_range"] == "7 bits"
