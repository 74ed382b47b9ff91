"""The checkpoints of a run: Lightning's form and the published keys, so that all readers of MARLIN files take them."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from marlin_sdk.atomic import atomic_path
from marlin_sdk.checkpoints import from_published_keys, to_published_keys
from marlin_sdk.errors import TrainingError, WeightsError
from marlin_sdk.training.module import Learner

__all__ = ["load_checkpoint", "model_state", "read_progress", "save_checkpoint"]

_CRITIC = "discriminator."
# A file that is not whole, or not ours.
_BROKEN = (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


def model_state(learner: Learner) -> dict[str, torch.Tensor]:
    """The autoencoder's weights on the CPU, whole on the first process and empty on the others.

    A collective call: every process takes part.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(learner.network, options=options)
    return {key: tensor.clone() for key, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def save_checkpoint(learner: Learner, path: Path, progress: dict[str, Any]) -> None:
    """Write weights, optimisers and progress; the file that lies there stays until the new one is whole.

    A collective call: every process takes part, the first one writes.

    Args:
        learner: what has learned.
        path: the file, `.ckpt`.
        progress: plain values: step, place in the data, best loss.
    Raises:
        TrainingError: it cannot be written, or weights are NaN or infinite; whatever lay at `path` is as it was.
    """
    state = to_published_keys(model_state(learner))
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    optimizer = get_optimizer_state_dict(learner.network, learner.adamw, options=options)
    content: dict[str, Any] = {
        "state_dict": state,
        "hyper_parameters": learner.config.model.to_dict(),
        "epoch": progress["epoch"],
        "global_step": progress["step"],
        "pytorch-lightning_version": "2.0.0",  # the first whose loader takes this form
        "progress": progress,
        "pretraining": learner.config.to_dict(),
        "optimizer": optimizer,
    }
    if learner.discriminator is not None and learner.critic_optimizer is not None:
        critic = learner.discriminator.state_dict()
        state.update({f"{_CRITIC}{key}": tensor.cpu() for key, tensor in critic.items()})
        content["critic_optimizer"] = learner.critic_optimizer.state_dict()
    failure, advice = "", "Make room, then go on"
    if learner.fabric.is_global_zero and not all(tensor.isfinite().all() for tensor in state.values()):
        failure, advice = "its weights are no numbers", "Set a lower base_lr, or clip_norm, and go on"
    elif learner.fabric.is_global_zero:
        try:
            with atomic_path(path) as part:
                torch.save(content, part)
        except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as a RuntimeError
            failure = f"{str(error).partition(chr(10))[0]} (is the disk full?)"
    failure, advice = learner.fabric.broadcast((failure, advice))
    if failure:
        kept, how = "there is none yet", "from the start"
        if path.is_file():
            kept, how = f"the last good one is still there, of step {_step_of(path)}", "with --resume"
        raise TrainingError(
            f"cannot write the checkpoint {path} of step {progress['step']}: {failure}; {kept}. {advice} {how}"
        )


def load_checkpoint(learner: Learner, path: Path) -> dict[str, Any]:
    """Put a run back where a checkpoint was written; the `progress` given to `save_checkpoint`.

    Raises:
        WeightsError: the file is not whole, is no checkpoint of a run, or is of a model of another size.
    """
    content = _read(path)
    model = content["hyper_parameters"]
    if model != learner.config.model.to_dict():
        own = learner.config.model.to_dict()
        differing = [f"{key} {model.get(key)} here {own.get(key)}" for key in own if own.get(key) != model.get(key)]
        raise WeightsError(f"{path} is a checkpoint of a model of another size: {', '.join(differing)}")
    has_critic = "critic_optimizer" in content
    if has_critic != (learner.discriminator is not None):
        raise WeightsError(
            f"{path} has {'a' if has_critic else 'no'} discriminator, but adv_weight is {learner.config.adv_weight}; "
            "resume with the settings of the run, or start a new one with --init"
        )
    options = StateDictOptions(full_state_dict=True, strict=True)
    weights: dict[str, Any] = dict(from_published_keys(content["state_dict"], path))
    set_model_state_dict(learner.network, weights, options=options)
    set_optimizer_state_dict(learner.network, learner.adamw, content["optimizer"], options=options)
    if learner.discriminator is not None and learner.critic_optimizer is not None:
        named = content["state_dict"].items()
        critic = {key.removeprefix(_CRITIC): tensor for key, tensor in named if key.startswith(_CRITIC)}
        learner.discriminator.load_state_dict(critic)
        learner.critic_optimizer.load_state_dict(content["critic_optimizer"])
    progress: dict[str, Any] = content["progress"]
    return progress


def read_progress(path: Path) -> dict[str, Any]:
    """How far the run of a checkpoint had come, and under "pretraining" its settings.

    Raises:
        WeightsError: the file is not whole, or is no checkpoint of a run.
    """
    content = _read(path)
    return {**content["progress"], "pretraining": content["pretraining"]}


def _step_of(path: Path) -> int | str:
    try:
        return int(_read(path)["global_step"])
    except WeightsError:
        return "unknown"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _BROKEN as error:
        raise WeightsError(f"{path} is no checkpoint, or is cut off: {str(error).partition(chr(10))[0]}") from error
    needed = {"state_dict", "hyper_parameters", "progress", "pretraining", "optimizer"}
    if not isinstance(content, dict) or not needed <= content.keys():
        raise WeightsError(f"{path} is no checkpoint of a run to go on with; to start from its weights use --init")
    return content
