"""Save a learner to a checkpoint and restore it: autoencoder, discriminator, and their optimisers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marlin_sdk.errors import WeightsError
from marlin_sdk.training.checkpoint import (
    model_state,
    optimizer_state,
    read_checkpoint,
    restore_state,
    write_checkpoint,
)
from marlin_sdk.training.pretrain.config import TASK
from marlin_sdk.training.pretrain.learner import Learner
from marlin_sdk.weights.checkpoints import from_published_keys, to_published_keys

__all__ = ["load_learner", "save_learner"]

_CRITIC = "discriminator."


def save_learner(learner: Learner, path: Path, progress: dict[str, Any]) -> None:
    """Write weights, optimisers and progress; see `write_checkpoint`.

    Args:
        learner: the learner.
        path: the file, `.ckpt`.
        progress: plain values: step, position in the data, best loss.
    Raises:
        TrainingError: it cannot be written, or weights are NaN or infinite; an existing file at `path` is unchanged.
    """
    state = to_published_keys(model_state(learner.network))
    content: dict[str, Any] = {
        "state_dict": state,
        "hyper_parameters": learner.config.model.to_dict(),
        "progress": progress,
        TASK: learner.config.to_dict(),
        "optimizer": optimizer_state(learner.network, learner.adamw),
    }
    if learner.discriminator is not None and learner.critic_optimizer is not None:
        critic = learner.discriminator.state_dict()
        state.update({f"{_CRITIC}{key}": tensor.cpu() for key, tensor in critic.items()})
        content["critic_optimizer"] = learner.critic_optimizer.state_dict()
    write_checkpoint(path, content, learner.fabric, task=TASK)


def load_learner(learner: Learner, path: Path) -> dict[str, Any]:
    """Restore a learner from a checkpoint.

    Returns:
        The `progress` passed to `save_learner`.
    Raises:
        WeightsError: the file is truncated, is not a checkpoint of a run, or is of a model of another size.
    """
    content = read_checkpoint(path, task=TASK)
    model, own = content["hyper_parameters"], learner.config.model.to_dict()
    if model != own:
        differing = [f"{key} {model.get(key)}, here {own.get(key)}" for key in own if own.get(key) != model.get(key)]
        raise WeightsError(f"{path} is a checkpoint of a model of another size: {'; '.join(differing)}")
    has_critic = "critic_optimizer" in content
    if has_critic != (learner.discriminator is not None):
        raise WeightsError(
            f"{path} has {'a' if has_critic else 'no'} discriminator, but adv_weight is {learner.config.adv_weight}; "
            "resume with the settings of the run, or start a new one with --init"
        )
    weights: dict[str, Any] = dict(from_published_keys(content["state_dict"], path))
    restore_state(learner.network, learner.adamw, weights, content["optimizer"])
    if learner.discriminator is not None and learner.critic_optimizer is not None:
        tensors = content["state_dict"].items()
        critic = {key.removeprefix(_CRITIC): tensor for key, tensor in tensors if key.startswith(_CRITIC)}
        learner.discriminator.load_state_dict(critic)
        learner.critic_optimizer.load_state_dict(content["critic_optimizer"])
    progress: dict[str, Any] = content["progress"]
    return progress
