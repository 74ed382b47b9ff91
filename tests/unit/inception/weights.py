"""Random weights of the Inception network, the same on every machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.inception.network import FEATURES, Inception


def random_state(*, classes: int = 1008) -> dict[str, torch.Tensor]:
    """A state dict as the published files have it, each tensor drawn with its name as the seed."""
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Inception().state_dict().items()}
    shapes |= {"fc.weight": (classes, FEATURES), "fc.bias": (classes,)}
    return {name: torch.from_numpy(_draw(name, shape)) for name, shape in shapes.items()}


def _draw(name: str, shape: tuple[int, ...]) -> NDArray[Any]:
    if not shape:
        return np.array(0)  # num_batches_tracked
    drawn = np.random.default_rng(list(name.encode())).standard_normal(shape).astype(np.float32)
    if name.endswith(("bn.weight", "running_var")):
        return 1 + 0.1 * np.abs(drawn)
    if len(shape) == 1:
        return 0.1 * drawn
    drawn *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
    return drawn


def write_weights(path: Path, **options: int) -> Path:
    torch.save(random_state(**options), path)
    return path
