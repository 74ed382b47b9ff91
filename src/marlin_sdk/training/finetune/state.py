"""Save a run of fine-tuning to a checkpoint, and restore it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from marlin_sdk.errors import WeightsError
from marlin_sdk.training.checkpoint import read_checkpoint, write_checkpoint
from marlin_sdk.training.finetune.config import TASK
from marlin_sdk.training.finetune.learner import Learner
from marlin_sdk.training.finetune.network import FineTuned
from marlin_sdk.weights.checkpoints import from_published_keys, to_published_keys

__all__ = ["load_learner", "load_weights", "save_learner"]

_HEAD = "finetuned_head."


def save_learner(learner: Learner, path: Path, progress: dict[str, Any], settings: dict[str, Any]) -> None:
    """Write weights, optimiser and progress; see `write_checkpoint`.

    Raises:
        TrainingError: it cannot be written, or weights are NaN or infinite; an existing file at `path` is unchanged.
    """
    network = learner.network
    state = to_published_keys({f"encoder.{key}": tensor.cpu() for key, tensor in network.encoder.state_dict().items()})
    state |= {f"{_HEAD}{key}": tensor.cpu() for key, tensor in network.head.state_dict().items()}
    content = {
        "state_dict": {key: tensor.clone() for key, tensor in state.items()},
        "hyper_parameters": network.encoder.config.without_decoder().to_dict(),
        "progress": progress,
        TASK: settings,
        "optimizer": learner.adamw.state_dict(),
    }
    write_checkpoint(path, content, learner.fabric, task=TASK)


def load_learner(learner: Learner, path: Path) -> dict[str, Any]:
    """Restore a learner from a checkpoint.

    Returns:
        The `progress` passed to `save_learner`.
    Raises:
        WeightsError: the file is truncated, is not a checkpoint of a run, or is of a model of another size.
    """
    content = load_weights(learner.network, path)
    learner.adamw.load_state_dict(content["optimizer"])
    progress: dict[str, Any] = content["progress"]
    return progress


def load_weights(network: FineTuned, path: Path) -> dict[str, Any]:
    """Restore encoder and head from a checkpoint; return its content.

    Raises:
        WeightsError: as `load_learner`.
    """
    content = read_checkpoint(path, task=TASK)
    model, own = content["hyper_parameters"], network.encoder.config.without_decoder().to_dict()
    if model != own:
        differing = [f"{key} {model.get(key)}, here {own.get(key)}" for key in own if own.get(key) != model.get(key)]
        raise WeightsError(f"{path} is a checkpoint of a model of another size: {'; '.join(differing)}")
    head: dict[str, Tensor] = {}
    encoder: dict[str, Tensor] = {}
    for key, tensor in content["state_dict"].items():
        (head if key.startswith(_HEAD) else encoder)[key.removeprefix(_HEAD)] = tensor
    named = from_published_keys(encoder, path)
    try:
        network.encoder.load_state_dict({key.removeprefix("encoder."): tensor for key, tensor in named.items()})
        network.head.load_state_dict(head)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise WeightsError(f"{path} does not fit: {reason:.300}; resume with the settings of the run") from error
    return content
