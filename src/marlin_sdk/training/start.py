"""The encoder that a training starts from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marlin_sdk.config import ModelConfig
from marlin_sdk.model import Encoder
from marlin_sdk.weights.loading import load_network, make_network

__all__ = ["Start"]


@dataclass(frozen=True)
class Start:
    """The weights to start from.

    Attributes:
        model: as in `Marlin.from_pretrained`; or a published name or a folder, of whose size random weights are.
        untrained: take random weights.
        cache_dir: folder of downloads.
        local_files_only: do not use the network.
    """

    model: str | Path | ModelConfig = "marlin_vit_base_ytf"
    untrained: bool = False
    cache_dir: str | None = None
    local_files_only: bool = False

    def load(self, seed: int) -> tuple[Encoder, dict[str, Any]]:
        """The encoder, and the identity of its weights.

        Raises:
            MarlinError: as `Marlin.from_pretrained`.
        """
        if self.untrained or isinstance(self.model, ModelConfig):
            size = self.model if isinstance(self.model, ModelConfig) else str(self.model)
            network, identity = make_network(size, seed=seed, decoder=False)
        else:
            network, identity = load_network(
                self.model,
                decoder=False,
                revision=None,
                token=None,
                cache_dir=self.cache_dir,
                local_files_only=self.local_files_only,
                config=None,
            )
        assert isinstance(network, Encoder)
        return network, json.loads(json.dumps(identity, default=str))
