"""The folder of a trained network that makes lips: its size and facts as JSON, its weights as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.lipsync.network import LipsConfig, LipsNetwork
from marlin_sdk.model import Encoder
from marlin_sdk.weights.folder import fill_network, read_facts, read_weights, write_folder

__all__ = ["LipsFacts", "load_lips", "save_lips"]

_NAME = "lips"


@dataclass(frozen=True)
class LipsFacts:
    """What is known of a model.

    Attributes:
        step: steps of its training.
        start: identity of the encoder's weights before it.
        sync: SHA-256 of the weights of the synchronisation model that judged it; empty without one.
        metrics: on the clips held out, by name.
        data: what it was trained on, in one sentence.
        weights_sha256: of the file; empty before it is written.
    """

    step: int = 0
    start: Mapping[str, Any] = field(default_factory=dict)
    sync: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    data: str = "Not stated."
    weights_sha256: str = ""


def save_lips(folder: Path, state: Mapping[str, Tensor], config: LipsConfig, facts: LipsFacts) -> None:
    """Write a model, each file atomically.

    Args:
        folder: created if it does not exist.
        state: of a `LipsNetwork`.
        config: its size.
        facts: of the model.
    Raises:
        OSError: a file cannot be written.
    """
    known = {key: value for key, value in vars(facts).items() if key != "weights_sha256"}
    write_folder(folder, _NAME, state, {"config": config.to_dict(), **known})


def load_lips(folder: str | Path) -> tuple[LipsNetwork, LipsFacts]:
    """Read a model.

    Args:
        folder: output of `marlin-sdk lipsync train`.
    Returns:
        The network on the CPU, for inference, and what is known of it.
    Raises:
        ConfigError: the folder holds no such model.
        WeightsError: it is damaged, of another version or size, or its weights are not those of its facts.
    """
    folder = Path(folder)
    file = folder / f"{_NAME}.json"
    try:
        values = read_facts(folder, _NAME, "marlin-sdk lipsync train")
        config = LipsConfig.from_dict(values["config"])
        facts = LipsFacts(
            step=int(values["step"]),
            start=dict(values["start"]),
            sync=str(values["sync"]),
            metrics=dict(values["metrics"]),
            data=str(values["data"]),
            weights_sha256=str(values["weights_sha256"]),
        )
    except (ConfigError, WeightsError):
        raise
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{file} cannot be read: {error!r:.200}; copy the folder again") from error
    state = read_weights(folder, _NAME, facts.weights_sha256)
    return _build(config, state, str(folder / f"{_NAME}.safetensors")), facts


def _build(config: LipsConfig, state: Mapping[str, Tensor], source: str) -> LipsNetwork:
    with torch.random.fork_rng(devices=[]):
        network = LipsNetwork(Encoder(config.model), config)
    fill_network(network, state, source)
    return network
