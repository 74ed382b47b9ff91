"""The folder of a trained synchronisation model: its size and facts as JSON, its weights as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.model import Encoder
from marlin_sdk.sync.network import SyncConfig, SyncNetwork
from marlin_sdk.weights.folder import fill_network, read_facts, read_weights, write_folder

__all__ = ["SyncFacts", "load_sync", "save_sync"]

_NAME = "sync"


@dataclass(frozen=True)
class SyncFacts:
    """What is known of a model.

    Attributes:
        max_distance: see `SyncScore`.
        step: steps of its training.
        start: identity of the encoder's weights before it.
        metrics: on the clips held out, by name.
        data: what it was trained on, in one sentence.
        weights_sha256: of the file; empty before it is written.
    """

    max_distance: float | None = None
    step: int = 0
    start: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    data: str = "Not stated."
    weights_sha256: str = ""


def save_sync(folder: Path, state: Mapping[str, Tensor], config: SyncConfig, facts: SyncFacts) -> None:
    """Write a model, each file atomically.

    Args:
        folder: created if it does not exist.
        state: of a `SyncNetwork`.
        config: its size.
        facts: of the model.
    Raises:
        OSError: a file cannot be written.
    """
    known = {key: value for key, value in vars(facts).items() if key != "weights_sha256"}
    write_folder(folder, _NAME, state, {"config": config.to_dict(), **known})


def load_sync(folder: str | Path) -> tuple[SyncNetwork, SyncFacts]:
    """Read a model.

    Args:
        folder: output of `marlin-sdk sync train`.
    Returns:
        The network on the CPU, for inference, and what is known of it.
    Raises:
        ConfigError: the folder holds no such model.
        WeightsError: it is damaged, of another version, or its weights are not those of its facts.
    """
    folder = Path(folder)
    file = folder / f"{_NAME}.json"
    try:
        values = read_facts(folder, _NAME, "marlin-sdk sync train")
        config = SyncConfig.from_dict(values["config"])
        most = values["max_distance"]
        facts = SyncFacts(
            max_distance=None if most is None else float(most),
            step=int(values["step"]),
            start=dict(values["start"]),
            metrics=dict(values["metrics"]),
            data=str(values["data"]),
            weights_sha256=str(values["weights_sha256"]),
        )
    except (ConfigError, WeightsError):
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{file} cannot be read: {error!r:.200}; copy the folder again") from error
    state = read_weights(folder, _NAME, facts.weights_sha256)
    return build_sync(config, state, str(folder / f"{_NAME}.safetensors")), facts


def build_sync(config: SyncConfig, state: Mapping[str, Tensor], source: str) -> SyncNetwork:
    """A network with weights, for inference.

    Raises:
        WeightsError: they do not fit, or are not finite.
    """
    with torch.random.fork_rng(devices=[]):
        network = SyncNetwork(Encoder(config.model), config)
    fill_network(network, state, source)
    return network
