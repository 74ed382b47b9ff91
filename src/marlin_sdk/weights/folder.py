"""A trained network as a folder: facts as JSON beside weights as safetensors, which they name by their hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from marlin_sdk._version import __version__
from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.weights.identity import file_sha256
from marlin_sdk.weights.tensors import read_tensors

__all__ = ["fill_network", "read_facts", "read_weights", "write_folder"]

_FORMAT = 1
_MAX_BYTES = 1 << 20


def write_folder(folder: Path, name: str, state: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a network, each file atomically.

    Args:
        folder: created if it does not exist.
        name: of the files, without `.json` and `.safetensors`.
        state: of the network.
        facts: plain values; the hash of the weights is added.
    Raises:
        OSError: a file cannot be written.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / f"{name}.safetensors"
    with atomic_path(weights) as part:
        save_file({key: tensor.detach().cpu().contiguous() for key, tensor in state.items()}, part)
    values = {"format": _FORMAT, "version": __version__, **facts, "weights_sha256": file_sha256(weights)}
    with atomic_path(folder / f"{name}.json") as part:
        part.write_text(json.dumps(values, indent=1, default=str) + "\n", encoding="utf-8")


def read_facts(folder: Path, name: str, command: str) -> dict[str, Any]:
    """Read the facts of a network.

    Args:
        folder: written by `write_folder`.
        name: of the files.
        command: that writes such folders, for messages.
    Raises:
        ConfigError: the folder holds no such network.
        WeightsError: they are of another version.
        OSError: they cannot be read.
        ValueError: they are not JSON.
        KeyError: they have no format.
        TypeError: they are not a mapping.
    """
    file = folder / f"{name}.json"
    if not file.is_file():
        raise ConfigError(f"{folder} holds no model of {command}: {file.name} is missing")
    with file.open(encoding="utf-8") as opened:
        values: dict[str, Any] = json.loads(opened.read(_MAX_BYTES))
    if values["format"] != _FORMAT:
        raise WeightsError(f"{file} has format {values['format']!r:.20}; this version reads {_FORMAT}")
    return values


def read_weights(folder: Path, name: str, sha256: str) -> dict[str, Tensor]:
    """Read the weights that facts describe.

    Raises:
        WeightsError: they are damaged, or others.
    """
    file = folder / f"{name}.safetensors"
    state, _ = read_tensors(file)
    if file_sha256(file) != sha256:
        raise WeightsError(f"{file} is not the file that {folder / name}.json describes; copy the folder again")
    return dict(state)


def fill_network(network: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Give a network its weights, for inference.

    Raises:
        WeightsError: they do not fit, or are not finite.
    """
    try:
        network.load_state_dict(dict(state))
    except RuntimeError as error:
        raise WeightsError(f"{source} does not fit its config: {' '.join(str(error).split()):.300}") from error
    if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
        raise WeightsError(f"{source} holds weights that are NaN or infinite")
    network.eval().requires_grad_(requires_grad=False)
