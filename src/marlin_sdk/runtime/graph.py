"""What the runtimes of converted models share: one clip at a time, on the CPU, through a graph with named outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.runtime.inputs import to_floats

__all__ = ["GraphRuntime", "RunGraph", "output_name"]

RunGraph = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]


def output_name(layer: int, *, keep_seq: bool) -> str:
    """What a converted model calls the output of a block: its normalised tokens, or their pooled vector."""
    return f"{'tokens' if keep_seq else 'pooled'}_{layer}"


class GraphRuntime(ABC):
    """Runs a converted model. It holds no network of torch, and stays on the CPU in the dtype it was made with.

    Clips go through one by one: on a CPU a batch is no faster, and so a row does not depend on its neighbours.

    Args:
        config: the size of the model.
        dtype: of the weights.
        provenance: see `EncoderRuntime.provenance`; its "name" is that of the runtime.
    """

    def __init__(self, config: ModelConfig, dtype: torch.dtype, provenance: Mapping[str, Any]) -> None:
        self.config, self.dtype, self.provenance = config, dtype, dict(provenance)
        self.device = torch.device("cpu")
        self._opened: dict[tuple[str, ...], RunGraph] = {}

    @abstractmethod
    def open(self, names: tuple[str, ...]) -> RunGraph:
        """Make ready a graph that computes these outputs and no other: a clip in, their arrays out, in order."""

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        """Refuse to move.

        Raises:
            ConfigError: another device or dtype was asked for.
        """
        if (device or self.device) != self.device or (dtype or self.dtype) != self.dtype:
            raise ConfigError(
                f"a model of runtime={self.provenance['name']!r} cannot be moved from {self.device}, {self.dtype}; "
                "load it anew with the dtype= you want, or use runtime='torch'"
            )

    def encode(self, clips: Tensor, *, keep_seq: bool = False, layers: Sequence[int] | None = None) -> Tensor:
        """See `EncoderRuntime.encode`. Each new choice of outputs takes a moment to make ready, once."""
        wanted = [range(self.config.encoder_depth)[layer] for layer in ((-1,) if layers is None else layers)]
        names = tuple(output_name(layer, keep_seq=keep_seq) for layer in sorted(set(wanted)))
        if names not in self._opened:
            self._opened[names] = self.open(names)
        run = self._opened[names]
        places = [sorted(set(wanted)).index(layer) for layer in wanted]
        rows = []
        for clip in clips.cpu():
            outputs = run(to_floats(clip[None]).contiguous().numpy())
            rows.append(np.concatenate([outputs[place] for place in places]))
        stacked = torch.from_numpy(np.stack(rows).astype(np.float32, copy=False))
        return stacked[:, 0] if layers is None else stacked
