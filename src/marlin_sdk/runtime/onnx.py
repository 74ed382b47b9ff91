"""The ONNX Runtime runtime: CPU, float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import MissingExtraError
from marlin_sdk.model import Encoder
from marlin_sdk.runtime.converted import converted_model
from marlin_sdk.runtime.graph import GraphRuntime, RunGraph
from marlin_sdk.runtime.onnx_graph import prune_graph, write_graph

__all__ = ["OnnxRuntime", "import_onnxruntime"]

_FORMAT = 1  # version of the graph that write_graph writes; a change invalidates every converted model
_GRAPH, _WEIGHTS = "encoder.onnx", "encoder.weights"


class OnnxRuntime(GraphRuntime):
    """Runs an encoder in ONNX Runtime.

    Args:
        graph: a file written by `convert`.
        config: the size of the model.
    """

    def __init__(self, graph: Path, config: ModelConfig) -> None:
        super().__init__(config, torch.float32, {"name": "onnx", "version": version("onnxruntime")})
        self._graph = graph

    @classmethod
    def convert(cls, encoder: Encoder, identity: Mapping[str, Any]) -> OnnxRuntime:
        """The runtime of an encoder, from the cache if it has been converted before.

        Args:
            encoder: its weights, float32, on the CPU. It is not needed afterwards.
            identity: of the weights.
        Raises:
            MissingExtraError: ONNX or ONNX Runtime is not installed.
            ConfigError: the converted model cannot be stored on disk.
        """
        import_onnxruntime()
        # Without the version of onnx: `write_graph` uses the same operations with every version.
        key = {**identity, "converter": {"format": _FORMAT}}
        folder = converted_model("onnx", key, lambda folder: write_graph(encoder, folder / _GRAPH, _WEIGHTS))
        return cls(folder / _GRAPH, encoder.config)

    def open(self, names: tuple[str, ...]) -> RunGraph:
        """See `GraphRuntime.open`."""
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3  # errors
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(self._graph.parent)
        )
        session = onnxruntime.InferenceSession(
            prune_graph(self._graph, names), options, providers=["CPUExecutionProvider"]
        )

        def run(clip: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
            outputs: Sequence[NDArray[np.float32]] = session.run(list(names), {"clips": clip})
            return outputs

        return run


def import_onnxruntime() -> Any:
    """The onnxruntime module.

    Raises:
        MissingExtraError: it, or onnx, is not installed.
    """
    try:
        import onnx  # noqa: F401 - writes the graph
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError("runtime='onnx'", "onnx") from error
    return onnxruntime
