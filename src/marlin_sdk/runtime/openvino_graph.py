"""The encoder as an OpenVINO graph, built directly from its weights: no tracing, one operation for attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from marlin_sdk.model import Encoder
from marlin_sdk.model.layers import NORM_EPS, Attention, Block
from marlin_sdk.runtime.graph import output_name

if TYPE_CHECKING:
    import openvino

__all__ = ["build_graph"]


def build_graph(encoder: Encoder) -> openvino.Model:
    """Build the graph of an encoder for one clip.

    Args:
        encoder: its weights, float32, on the CPU.
    Returns:
        Input `clips`, float32 (1, 3, T, H, W) in [0, 1]; outputs `pooled_k` (1, D) and `tokens_k` (1, N, D) for each
        block k. Outputs that are not needed should be removed before compiling.
    """
    import openvino
    from openvino import opset13 as ops

    config = encoder.config
    channels, frames, height, width = config.clip_shape
    (t, h, w), time, patch = config.grid, config.tubelet_size, config.patch_size
    clips = ops.parameter([1, channels, frames, height, width], np.float32, name="clips")
    clips.output(0).set_names({"clips"})
    x = _reshape(clips, [1, channels, t, time, h, patch, w, patch])
    x = _reshape(_transpose(x, [0, 2, 4, 6, 1, 3, 5, 7]), [1, config.num_tokens, config.patch_dim])
    projection = encoder.patch_embedding.projection
    x = _linear(x, projection.weight.flatten(1), projection.bias)
    x = ops.add(x, _constant(encoder.positions))
    results = []
    for index, block in enumerate(encoder.blocks):
        x = _block(x, block)
        for keep_seq in (False, True):
            pooled = x if keep_seq else ops.reduce_mean(x, np.array([1], np.int64), keep_dims=False)
            result = ops.result(_norm(pooled, encoder.norm))
            result.output(0).set_names({output_name(index, keep_seq=keep_seq)})
            results.append(result)
    return openvino.Model(results, [clips], "marlin_encoder")


def _block(x: Any, block: Any) -> Any:
    from openvino import opset13 as ops

    assert isinstance(block, Block)
    x = ops.add(x, _attention(_norm(x, block.norm1), block.attn))
    hidden = ops.gelu(_linear(_norm(x, block.norm2), block.mlp.up.weight, block.mlp.up.bias), "erf")
    return ops.add(x, _linear(hidden, block.mlp.down.weight, block.mlp.down.bias))


def _attention(x: Any, attention: Attention) -> Any:
    from openvino import opset13 as ops

    _, tokens, dim = x.get_output_shape(0)
    heads = attention.num_heads
    qkv = _reshape(_linear(x, attention.qkv.weight, attention.qkv_bias()), [1, tokens, 3, heads, dim // heads])
    stacked = _transpose(qkv, [2, 0, 3, 1, 4])
    q, k, v = (ops.squeeze(part, np.array([0], np.int64)) for part in ops.split(stacked, np.int64(0), 3).outputs())
    attended = ops.scaled_dot_product_attention(q, k, v)
    merged = _reshape(_transpose(attended, [0, 2, 1, 3]), [1, tokens, dim])
    return _linear(merged, attention.proj.weight, attention.proj.bias)


def _norm(x: Any, norm: Any) -> Any:
    from openvino import opset13 as ops

    scaled = ops.mvn(x, np.array([-1], np.int64), True, NORM_EPS, "inside_sqrt")
    return ops.add(ops.multiply(scaled, _constant(norm.weight)), _constant(norm.bias))


def _linear(x: Any, weight: Tensor, bias: Tensor | None) -> Any:
    from openvino import opset13 as ops

    product = ops.matmul(x, _constant(weight), False, True)
    return product if bias is None else ops.add(product, _constant(bias))


def _reshape(x: Any, shape: list[int]) -> Any:
    from openvino import opset13 as ops

    return ops.reshape(x, np.array(shape, np.int64), special_zero=False)


def _transpose(x: Any, order: list[int]) -> Any:
    from openvino import opset13 as ops

    return ops.transpose(x, np.array(order, np.int64))


def _constant(values: Tensor) -> Any:
    from openvino import opset13 as ops

    return ops.constant(values.detach().numpy())
