"""Base class of the runtimes of converted models: one clip at a time, on the CPU, in a graph with named outputs."""

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
from marlin_sdk.locked import Locked
from marlin_sdk.runtime.inputs import to_floats

__all__ = ["GraphRuntime", "RunGraph", "output_name"]

RunGraph = Callable[[NDArray[np.float32]], Sequence[NDArray[np.float32]]]


def output_name(layer: int, *, keep_seq: bool) -> str:
    """The name of a block's output in a converted model: its normalised tokens, or their pooled vector."""
    return f"{'tokens' if keep_seq else 'pooled'}_{layer}"


class GraphRuntime(Locked, ABC):
    """Runs a converted model. It holds no torch network, and its device, the CPU, and its dtype are fixed.

    Clips are embedded one by one: on a CPU a batch is no faster, and a row does not depend on its neighbours this way.

    Args:
        config: the size of the model.
        dtype: of the weights.
        provenance: see `EncoderRuntime.provenance`; its "name" is that of the runtime.
    """

    _transient = ("_graphs",)

    def __init__(self, config: ModelConfig, dtype: torch.dtype, provenance: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, self.dtype, self.provenance = config, dtype, dict(provenance)
        self.device = torch.device("cpu")
        self._restore()

    def _restore(self) -> None:
        self._graphs: dict[tuple[str, ...], RunGraph] = {}

    @abstractmethod
    def open(self, names: tuple[str, ...]) -> RunGraph:
        """Compile a graph that computes only these outputs: a clip in, their arrays out, in order."""

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> None:
        """Do nothing: the device and the dtype are fixed.

        Raises:
            ConfigError: another device or dtype is requested.
        """
        if (device or self.device) != self.device or (dtype or self.dtype) != self.dtype:
            raise ConfigError(
                f"a model of runtime={self.provenance['name']!r} cannot be moved from {self.device}, {self.dtype}; "
                "load it again with the dtype= you want, or use runtime='torch'"
            )

    def encode(self, clips: Tensor, *, keep_seq: bool = False, layers: Sequence[int] | None = None) -> Tensor:
        """See `EncoderRuntime.encode`. The first use of each set of outputs compiles a graph."""
        wanted = [range(self.config.encoder_depth)[layer] for layer in ((-1,) if layers is None else layers)]
        names = tuple(output_name(layer, keep_seq=keep_seq) for layer in sorted(set(wanted)))
        positions = [sorted(set(wanted)).index(layer) for layer in wanted]
        rows = []
        with self._lock:  # a compiled graph has one set of buffers
            if names not in self._graphs:
                self._graphs[names] = self.open(names)
            run = self._graphs[names]
            for clip in clips.cpu():
                outputs = run(to_floats(clip[None]).contiguous().numpy())
                rows.append(np.concatenate([outputs[position] for position in positions]))
        stacked = torch.from_numpy(np.stack(rows).astype(np.float32, copy=False))
        return stacked[:, 0] if layers is None else stacked
