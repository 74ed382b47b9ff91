"""The checkpoints of a run: Lightning's form and the published keys, so that all readers of MARLIN files take them."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import TrainingError, WeightsError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["model_state", "optimizer_state", "read_checkpoint", "read_progress", "restore_state", "write_checkpoint"]

# A file that is not whole, or not ours.
_BROKEN = (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


def model_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a network on the CPU, whole on the first process and empty on the others.

    A collective call: every process takes part.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(network, options=options)
    return {key: tensor.clone() for key, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def optimizer_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimiser by the names of the parameters, on the CPU. A collective call, as `model_state`."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_optimizer_state_dict(network, optimizer, options=options))


def restore_state(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: dict[str, Any],
    optimizer_values: dict[str, Any],
) -> None:
    """Load what `model_state` and `optimizer_state` gave, in place. A collective call."""
    options = StateDictOptions(full_state_dict=True, strict=True)
    set_model_state_dict(network, weights, options=options)
    set_optimizer_state_dict(network, optimizer, optimizer_values, options=options)


def write_checkpoint(path: Path, content: dict[str, Any], fabric: Fabric, *, task: str) -> None:
    """Write a checkpoint; the file that lies there stays until the new one is whole.

    A collective call: every process takes part, the first one writes.

    Args:
        path: the file, `.ckpt`.
        content: `state_dict`, `hyper_parameters` (the size of the model), `progress` (plain values: `step`, `epoch` and
            what else the task needs), `optimizer`, and under `task` the settings of the run.
        fabric: of the run.
        task: see `read_checkpoint`.
    Raises:
        TrainingError: it cannot be written, or weights are NaN or infinite; whatever lay at `path` is as it was.
    """
    step = content["progress"]["step"]
    written = {
        **content,
        "epoch": content["progress"]["epoch"],
        "global_step": step,
        "pytorch-lightning_version": "2.0.0",  # the first whose loader takes this form
    }
    failure, advice = "", "Make room, then go on"
    if fabric.is_global_zero and not all(tensor.isfinite().all() for tensor in content["state_dict"].values()):
        failure, advice = "its weights are not finite", "Set a lower base_lr, or clip_norm, and go on"
    elif fabric.is_global_zero:
        try:
            with atomic_path(path) as part:
                torch.save(written, part)
        except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as a RuntimeError
            failure = f"{str(error).partition(chr(10))[0]} (is the disk full?)"
    failure, advice = fabric.broadcast((failure, advice))
    if failure:
        last, how = "there is none yet", "from the start"
        if path.is_file():
            last, how = f"the last good one is still there, of step {_step_of(path, task)}", "with --resume"
        raise TrainingError(f"cannot write the checkpoint {path} of step {step}: {failure}; {last}. {advice} {how}")


def read_checkpoint(path: Path, *, task: str) -> dict[str, Any]:
    """What `write_checkpoint` wrote, tensors mapped from the file.

    Args:
        path: the file.
        task: the key of the settings of the run, which tells one kind of training from another ("pretraining").
    Raises:
        WeightsError: the file is not whole, or is no checkpoint of such a run.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _BROKEN as error:
        raise WeightsError(f"{path} is no checkpoint, or is cut off: {str(error).partition(chr(10))[0]}") from error
    needed = {"state_dict", "hyper_parameters", "progress", task, "optimizer"}
    if not isinstance(content, dict) or not needed <= content.keys():
        raise WeightsError(f"{path} is no checkpoint of a run to go on with; to start from its weights use --init")
    return content


def read_progress(path: Path, *, task: str) -> dict[str, Any]:
    """How far the run of a checkpoint had come, and under the name of the task its settings.

    Raises:
        WeightsError: as `read_checkpoint`.
    """
    content = read_checkpoint(path, task=task)
    return {**content["progress"], task: content[task]}


def _step_of(path: Path, task: str) -> int | str:
    try:
        return int(read_checkpoint(path, task=task)["global_step"])
    except WeightsError:
        return "unknown"
