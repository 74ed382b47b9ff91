"""The checkpoints of a run: Lightning's format with the published keys, so that any reader of MARLIN files works."""

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

# For a truncated file, or one that is not a checkpoint.
_READ_ERRORS = (OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError, zipfile.BadZipFile)


def model_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """The weights of a network on the CPU, complete on the first process and empty on the others.

    A collective call: every process must make it.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(network, options=options)
    return {key: tensor.clone() for key, tensor in state.items() if isinstance(tensor, torch.Tensor)}


def optimizer_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state of an optimiser by parameter names, on the CPU. A collective call, like `model_state`."""
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return dict(get_optimizer_state_dict(network, optimizer, options=options))


def restore_state(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    weights: dict[str, Any],
    optimizer_values: dict[str, Any],
) -> None:
    """Load the output of `model_state` and `optimizer_state`, in place. A collective call."""
    options = StateDictOptions(full_state_dict=True, strict=True)
    set_model_state_dict(network, weights, options=options)
    set_optimizer_state_dict(network, optimizer, optimizer_values, options=options)


def write_checkpoint(path: Path, content: dict[str, Any], fabric: Fabric, *, task: str) -> None:
    """Write a checkpoint atomically: an existing file is replaced once the new one is complete.

    A collective call: every process must make it, the first one writes.

    Args:
        path: the file, `.ckpt`.
        content: `state_dict`, `hyper_parameters` (the size of the model), `progress` (plain values: `step`, `epoch` and
            others that the task needs), `optimizer`, and under `task` the settings of the run.
        fabric: of the run.
        task: see `read_checkpoint`.
    Raises:
        TrainingError: it cannot be written, or weights are NaN or infinite; an existing file at `path` is unchanged.
    """
    step = content["progress"]["step"]
    written = {
        **content,
        "epoch": content["progress"]["epoch"],
        "global_step": step,
        "pytorch-lightning_version": "2.0.0",  # the first whose loader accepts this format
    }
    failure, advice = "", "Free some space"
    if fabric.is_global_zero and not all(tensor.isfinite().all() for tensor in content["state_dict"].values()):
        failure, advice = "its weights are not finite", "Set a lower base_lr, or clip_norm"
    elif fabric.is_global_zero:
        try:
            with atomic_path(path) as part:
                torch.save(written, part)
        except (OSError, RuntimeError) as error:  # torch's zip writer reports a full disk as a RuntimeError
            failure = f"{str(error).partition(chr(10))[0]} (is the disk full?)"
    failure, advice = fabric.broadcast((failure, advice))
    if failure:
        last, remedy = "there is no earlier one", "start again"
        if path.is_file():
            last, remedy = f"the last good one, of step {_step_of(path, task)}, is still there", "resume with --resume"
        raise TrainingError(
            f"cannot write the checkpoint {path} of step {step}: {failure}; {last}. {advice}, then {remedy}"
        )


def read_checkpoint(path: Path, *, task: str) -> dict[str, Any]:
    """Read a file of `write_checkpoint`, with memory-mapped tensors.

    Args:
        path: the file.
        task: the key of the settings of the run, which identifies the kind of training ("pretraining").
    Raises:
        WeightsError: the file is truncated, or is not a checkpoint of such a run.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except _READ_ERRORS as error:
        raise WeightsError(
            f"{path} is not a checkpoint, or is truncated: {str(error).partition(chr(10))[0]}"
        ) from error
    required = {"state_dict", "hyper_parameters", "progress", task, "optimizer"}
    if not isinstance(content, dict) or not required <= content.keys():
        raise WeightsError(f"{path} is not a checkpoint that a run can resume; to start from its weights use --init")
    return content


def read_progress(path: Path, *, task: str) -> dict[str, Any]:
    """The progress of the run of a checkpoint, and under the name of the task its settings.

    Raises:
        WeightsError: as in `read_checkpoint`.
    """
    content = read_checkpoint(path, task=task)
    return {**content["progress"], task: content[task]}


def _step_of(path: Path, task: str) -> int | str:
    try:
        return int(read_checkpoint(path, task=task)["global_step"])
    except WeightsError:
        return "unknown"
