"""The folder of a trained network that makes lips: its size and facts as JSON, its weights as safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from marlin_sdk._version import __version__
from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.lipsync.network import LipsConfig, LipsNetwork
from marlin_sdk.model import Encoder
from marlin_sdk.weights.identity import file_sha256
from marlin_sdk.weights.tensors import read_tensors

__all__ = ["LipsFacts", "load_lips", "save_lips"]

_FACTS, _WEIGHTS = "lips.json", "lips.safetensors"
_FORMAT = 1
_MAX_BYTES = 1 << 20


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
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / _WEIGHTS) as part:
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, part)
    values = {
        "format": _FORMAT,
        "version": __version__,
        "config": config.to_dict(),
        **{key: value for key, value in vars(facts).items() if key != "weights_sha256"},
        "weights_sha256": file_sha256(folder / _WEIGHTS),
    }
    with atomic_path(folder / _FACTS) as part:
        part.write_text(json.dumps(values, indent=1, default=str) + "\n", encoding="utf-8")


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
    file = folder / _FACTS
    if not file.is_file():
        raise ConfigError(f"{folder} holds no model of marlin-sdk lipsync train: {_FACTS} is missing")
    try:
        with file.open(encoding="utf-8") as opened:
            values = json.loads(opened.read(_MAX_BYTES))
        if values["format"] != _FORMAT:
            raise WeightsError(f"{file} has format {values['format']!r:.20}; this version reads {_FORMAT}")
        config = LipsConfig.from_dict(values["config"])
        facts = LipsFacts(
            step=int(values["step"]),
            start=dict(values["start"]),
            sync=str(values["sync"]),
            metrics=dict(values["metrics"]),
            data=str(values["data"]),
            weights_sha256=str(values["weights_sha256"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{file} cannot be read: {error!r:.200}; copy the folder again") from error
    state, _ = read_tensors(folder / _WEIGHTS)
    if file_sha256(folder / _WEIGHTS) != facts.weights_sha256:
        raise WeightsError(f"{folder / _WEIGHTS} is not the file that {file} describes; copy the folder again")
    return _build(config, state, str(folder / _WEIGHTS)), facts


def _build(config: LipsConfig, state: Mapping[str, Tensor], source: str) -> LipsNetwork:
    with torch.random.fork_rng(devices=[]):
        network = LipsNetwork(Encoder(config.model), config)
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise WeightsError(f"{source} does not fit its config: {' '.join(str(error).split()):.300}") from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise WeightsError(f"{source} holds weights that are NaN or infinite")
    return network.eval().requires_grad_(requires_grad=False)
