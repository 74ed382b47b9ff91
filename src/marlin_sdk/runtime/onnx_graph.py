"""The encoder as an ONNX graph, built directly from its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.model import Encoder
from marlin_sdk.model.layers import NORM_EPS, Block
from marlin_sdk.runtime.graph import output_name

__all__ = ["prune_graph", "write_graph"]

_OPSET, _IR_VERSION = 20, 9  # the first opset with Gelu, and the first IR version that supports it
_CONTRIB = "com.microsoft"  # ONNX Runtime's own operations: its attention never materialises all scores at once


def write_graph(encoder: Encoder, path: Path, weights: str) -> None:
    """Write the graph of an encoder for one clip.

    Args:
        encoder: its weights, float32, on the CPU.
        path: of the graph: input `clips`, float32 (1, 3, T, H, W) in [0, 1]; outputs `pooled_k` (1, D) and `tokens_k`
            (1, N, D) for each block k.
        weights: the name of the weights file, written beside the graph.
    """
    import onnx

    graph = _Graph()
    outputs = _encoder(graph, encoder)
    shapes = {
        False: [1, encoder.config.encoder_embed_dim],
        True: [1, encoder.config.num_tokens, encoder.config.encoder_embed_dim],
    }
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            "marlin_encoder",
            [onnx.helper.make_tensor_value_info("clips", onnx.TensorProto.FLOAT, [1, *encoder.config.clip_shape])],
            [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[seq]) for name, seq in outputs],
            graph.constants,
        ),
        opset_imports=[onnx.helper.make_opsetid("", _OPSET), onnx.helper.make_opsetid(_CONTRIB, 1)],
        ir_version=_IR_VERSION,
        producer_name="marlin-sdk",
    )
    onnx.save_model(model, path, save_as_external_data=True, location=weights, size_threshold=1024)


def prune_graph(path: Path, names: tuple[str, ...]) -> bytes:
    """A graph of `write_graph` that computes only these outputs; its weights stay in their file."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    needed = set(names)
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.append(node)
    fields = (
        (graph.node, nodes[::-1]),
        (graph.output, [output for name in names for output in graph.output if output.name == name]),
        (graph.initializer, [constant for constant in graph.initializer if constant.name in needed]),
    )
    for field, values in fields:
        copies = [type(value).FromString(value.SerializeToString()) for value in values]
        del field[:]
        field.extend(copies)
    return bytes(model.SerializeToString())


class _Graph:
    """Builds nodes and constants with unique names."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        import onnx

        name = output or f"{operation}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(operation, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: Tensor | NDArray[Any]) -> str:
        """Add a constant, and return its name."""
        import onnx

        array = values.detach().numpy() if isinstance(values, Tensor) else values
        name = f"constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def reshape(self, x: str, *shape: int) -> str:
        return self.add("Reshape", x, self.constant(np.array(shape, np.int64)))

    def linear(self, x: str, weight: Tensor, bias: Tensor | None) -> str:
        product = self.add("MatMul", x, self.constant(weight.detach().T))
        return product if bias is None else self.add("Add", product, self.constant(bias))

    def norm(self, x: str, norm: Any, output: str = "") -> str:
        weights = self.constant(norm.weight), self.constant(norm.bias)
        return self.add("LayerNormalization", x, *weights, axis=-1, epsilon=NORM_EPS, output=output)


def _encoder(graph: _Graph, encoder: Encoder) -> list[tuple[str, bool]]:
    """Add the nodes of an encoder; return the names of its outputs, and whether they are tokens."""
    config = encoder.config
    (t, h, w), time, patch = config.grid, config.tubelet_size, config.patch_size
    x = graph.reshape("clips", 3, t, time, h, patch, w, patch)
    x = graph.reshape(graph.add("Transpose", x, perm=[1, 3, 5, 0, 2, 4, 6]), 1, config.num_tokens, config.patch_dim)
    projection = encoder.patch_embedding.projection
    x = graph.linear(x, projection.weight.flatten(1), projection.bias)
    x = graph.add("Add", x, graph.constant(encoder.positions))
    axis = graph.constant(np.array([1], np.int64))
    outputs = []
    for index, block in enumerate(encoder.blocks):
        assert isinstance(block, Block)
        x = _block(graph, x, block)
        for keep_seq in (False, True):
            name = output_name(index, keep_seq=keep_seq)
            pooled = x if keep_seq else graph.add("ReduceMean", x, axis, keepdims=0)
            outputs.append((graph.norm(pooled, encoder.norm, output=name), keep_seq))
    return outputs


def _block(graph: _Graph, x: str, block: Block) -> str:
    attention, mlp = block.attn, block.mlp
    normed = graph.norm(x, block.norm1)
    weights, biases = attention.qkv.weight.chunk(3), attention.qkv_bias().chunk(3)
    query, key, value = (graph.linear(normed, *part) for part in zip(weights, biases, strict=True))
    attended = graph.add("MultiHeadAttention", query, key, value, domain=_CONTRIB, num_heads=attention.num_heads)
    x = graph.add("Add", x, graph.linear(attended, attention.proj.weight, attention.proj.bias))
    hidden = graph.add("Gelu", graph.linear(graph.norm(x, block.norm2), mlp.up.weight, mlp.up.bias), approximate="none")
    return graph.add("Add", x, graph.linear(hidden, mlp.down.weight, mlp.down.bias))
