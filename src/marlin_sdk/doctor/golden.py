"""A small model whose output is known, to check the arithmetic of this machine."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.config import ModelConfig

if TYPE_CHECKING:
    import torch

    from marlin_sdk.model import Encoder

__all__ = ["GOLDEN", "golden_clips", "golden_encoder", "worst_error"]

_CONFIG = ModelConfig(encoder_embed_dim=32, encoder_depth=2, encoder_num_heads=2, img_size=32, patch_size=16)

# What marlin-pytorch 0.3.4 gives for `golden_clips` with the weights of `golden_encoder`, in float32.
GOLDEN = np.array(
    [
        [-0.142486, 0.677083, 0.304891, 0.417557, -0.550738, 1.227168, -1.305180, -2.039285],
        [0.643357, -0.219940, 0.811251, -1.613412, 1.281744, 0.951228, 0.085730, 0.866611],
        [-1.222807, -0.746423, 0.272267, -0.620623, -1.623217, 0.393192, -1.068179, 2.514841],
        [-0.081021, 1.194388, -1.048233, 1.017886, 0.333164, -0.434169, -0.380404, -0.467311],
    ],
    dtype=np.float32,
).reshape(1, 32)


def golden_clips() -> NDArray[np.float32]:
    """The clip that `GOLDEN` is the output for.

    Returns:
        float32 (1, 3, 16, 32, 32) in [0, 1).
    """
    return np.random.default_rng(0).random((1, *_CONFIG.clip_shape), dtype=np.float32)


def golden_encoder() -> Encoder:
    """An encoder of 32 dims and 2 blocks, with each tensor drawn from a seed made of its published name.

    Recipe: standard normal numbers from a generator seeded with the name's CRC-32; norms 1 + 0.1 n, biases 0.1 n,
    the rest n / sqrt(fan-in). Positional embeddings are the model's own.
    """
    import torch

    from marlin_sdk.model import Encoder
    from marlin_sdk.weights.checkpoints import from_published_keys, load_weights, to_published_keys

    encoder = Encoder(_CONFIG)
    own = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    state = {
        name: tensor if name.endswith(".emb") else torch.from_numpy(_recipe(name, tuple(tensor.shape)))
        for name, tensor in to_published_keys(own).items()
    }
    load_weights(encoder, from_published_keys(state, "the recipe"), source="the recipe")
    return encoder.requires_grad_(requires_grad=False)


def _recipe(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith(("norm1.weight", "norm2.weight", "norm.weight")):
        values = 1 + 0.1 * values
    elif name.endswith("bias"):
        values = 0.1 * values
    else:
        values = values / np.sqrt(np.prod(shape[1:], dtype=np.float32))
    return np.asarray(values, dtype=np.float32)


def worst_error(device: torch.device, dtype: torch.dtype) -> float:
    """Run the model, and compare its output with the reference.

    Args:
        device: torch device.
        dtype: dtype of weights and arithmetic.
    Returns:
        The largest absolute difference from the reference, whose values are of the order of 1; infinite if the device
        gives NaN.
    """
    import torch

    from marlin_sdk.runtime.torch import TorchRuntime

    features = TorchRuntime(golden_encoder(), device=device, dtype=dtype).encode(torch.from_numpy(golden_clips()))
    error = float(np.abs(features.cpu().numpy() - GOLDEN).max())
    return error if np.isfinite(error) else float("inf")
