"""The OpenVINO runtime: CPU; float32, bfloat16, or int8 quantised by NNCF."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, MissingExtraError
from marlin_sdk.model import Encoder
from marlin_sdk.runtime.calibration import CalibrationSet
from marlin_sdk.runtime.converted import converted_model
from marlin_sdk.runtime.cpu import cpu_flags, describe_missing_features
from marlin_sdk.runtime.graph import GraphRuntime, RunGraph
from marlin_sdk.runtime.inputs import to_floats
from marlin_sdk.runtime.openvino_graph import build_graph

if TYPE_CHECKING:
    import openvino

__all__ = ["OpenVinoRuntime", "import_openvino"]

_FORMAT = 1  # version of the graph that build_graph builds; a change invalidates every converted model
_REDUCED_RANGE = "7 bits"
_GRAPH = "encoder.xml"


class OpenVinoRuntime(GraphRuntime):
    """Runs an encoder compiled by OpenVINO for this CPU.

    Args:
        graph: a file written by `convert`.
        config: the size of the model.
        dtype: float32, bfloat16 or int8.
        calibration: identity of an int8 model's calibration set.
    """

    def __init__(
        self, graph: Path, config: ModelConfig, *, dtype: torch.dtype, calibration: Mapping[str, Any] | None = None
    ) -> None:
        bf16 = dtype == torch.bfloat16 or (
            dtype == torch.int8 and describe_missing_features("bfloat16", cpu_flags() or frozenset()) is None
        )
        self._precision = "bf16" if bf16 else "f32"
        provenance: dict[str, Any] = {"name": "openvino", "version": version("openvino")}
        if dtype == torch.int8:
            provenance |= {"not_quantised_in": self._precision, "calibration": dict(calibration or {})}
            if _saturates():
                provenance["weights_range"] = _REDUCED_RANGE
        super().__init__(config, dtype, provenance)
        self._graph = graph

    @classmethod
    def convert(
        cls,
        encoder: Encoder,
        identity: Mapping[str, Any],
        *,
        dtype: torch.dtype,
        calibration: CalibrationSet,
    ) -> OpenVinoRuntime:
        """The runtime of an encoder, from the cache if it has been converted before.

        Args:
            encoder: its weights, float32, on the CPU. It is not needed afterwards.
            identity: of the weights.
            dtype: float32 and bfloat16 share a file; int8 has one for each calibration.
            calibration: clips for int8.
        Raises:
            MissingExtraError: OpenVINO, or NNCF for int8, is not installed.
            ConfigError: the converted model cannot be stored on disk.
        """
        import_openvino()
        quantise = dtype == torch.int8
        converter = {"format": _FORMAT, "openvino": version("openvino")}
        key: dict[str, Any] = {**identity, "converter": converter}
        if quantise:
            converter["nncf"] = _nncf_version()
            key["calibration"] = dict(calibration.identity)
            if _saturates():
                converter["weights_range"] = _REDUCED_RANGE

        def make(folder: Path) -> None:
            graph = build_graph(encoder)
            if quantise:
                graph = _quantise(graph, calibration.make())
            try:
                import_openvino().save_model(graph, folder / _GRAPH, compress_to_fp16=False)
            except RuntimeError as error:  # of a stream that cannot be written: a full disk
                raise OSError(f"OpenVINO cannot write it ({error})") from error

        folder = converted_model("openvino-int8" if quantise else "openvino", key, make)
        return cls(folder / _GRAPH, encoder.config, dtype=dtype, calibration=calibration.identity if quantise else None)

    def open(self, names: tuple[str, ...]) -> RunGraph:
        """See `GraphRuntime.open`.

        Raises:
            ConfigError: OpenVINO would compute in another precision than requested.
        """
        core = _core()
        graph = core.read_model(self._graph)
        for output in graph.outputs:
            if output.get_any_name() not in names:
                graph.remove_result(output.node)
        settings = {
            "INFERENCE_PRECISION_HINT": self._precision,
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = core.compile_model(graph, "CPU", settings)
        actual = str(compiled.get_property("INFERENCE_PRECISION_HINT").to_string())
        if actual != self._precision:
            raise ConfigError(
                f"OpenVINO computes in {actual} on this CPU, not in {self._precision}; use dtype='float32'"
            )
        request = compiled.create_infer_request()
        ports = [compiled.output(name) for name in names]

        def run(clip: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
            results = request.infer([clip], share_inputs=True)
            return [results[port] for port in ports]

        return run


def import_openvino() -> Any:
    """The openvino module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        with _no_telemetry():
            import openvino
    except ImportError as error:
        raise MissingExtraError("runtime='openvino'", "openvino") from error
    return openvino


@contextlib.contextmanager
def _no_telemetry() -> Iterator[None]:
    """Import OpenVINO and NNCF without openvino_telemetry, which sends usage data to Google Analytics."""
    name = "openvino_telemetry"
    missing = name not in sys.modules
    if missing:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if missing:
            sys.modules.pop(name, None)


@cache
def _core() -> Any:
    return import_openvino().Core()


def _saturates() -> bool:
    """Whether this processor adds int8 products in 16 bits, which overflow: all of x86 without VNNI.

    Weights then use half of their range. Source: NNCF, `OverflowFix`.
    """
    return describe_missing_features("int8", cpu_flags() or frozenset()) is not None


def _nncf_version() -> str:
    try:
        return version("nncf")
    except ImportError as error:  # includes PackageNotFoundError
        raise MissingExtraError("dtype='int8'", "openvino") from error


def _quantise(graph: openvino.Model, clips: NDArray[np.uint8]) -> openvino.Model:
    """Post-training quantisation with SmoothQuant, which transformers need; progress bars are sent to stderr."""
    with _no_telemetry(), contextlib.redirect_stdout(sys.stderr):
        import nncf

        data = [to_floats(torch.from_numpy(clip[None])).contiguous().numpy() for clip in clips]
        reduced = nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE)
        quantised: openvino.Model = nncf.quantize(
            graph,
            nncf.Dataset(data),
            advanced_parameters=reduced if _saturates() else None,
            model_type=nncf.ModelType.TRANSFORMER,
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(data),
        )
    return quantised
