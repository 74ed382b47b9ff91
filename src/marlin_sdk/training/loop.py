"""The steps of a training run: data, a step, validation, checkpoints; stopping and resuming without a loss."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from marlin_sdk.errors import TrainingError
from marlin_sdk.processes import stop_on_signals
from marlin_sdk.training.monitor import Monitor
from marlin_sdk.training.run_folder import RunFolder
from marlin_sdk.training.strategy import any_process
from marlin_sdk.training.stream import Stream

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["Plan", "Task", "Verdict", "run_steps"]

logger = logging.getLogger("marlin_sdk")


@dataclass(frozen=True)
class Plan:
    """The length of a run, and how often it writes a checkpoint.

    Attributes:
        first_step: steps done before.
        steps: of the whole run.
        accumulate: batches of a step.
        save_every: steps between two checkpoints.
        remedy: what to do about a loss that is not finite, in words.
    """

    first_step: int
    steps: int
    accumulate: int
    save_every: int
    remedy: str


@dataclass(frozen=True)
class Verdict:
    """What is found after a step.

    Attributes:
        improved: the weights are the best so far.
        finished: the run ends here, before its last step.
    """

    improved: bool = False
    finished: bool = False


class Task(Protocol):
    """What differs between the kinds of training."""

    def begin(self, monitor: Monitor) -> None:
        """Called before the first step, at a start and when a run resumes."""

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step, from 0."""

    def step(self, step: int, loaded: Sequence[dict[str, Any]], rate: float) -> Callable[[], Mapping[str, float]]:
        """Train on the batches of a step; returns a function that gives the losses by name, which waits for the device.

        Raises:
            FloatingPointError: a loss or a gradient is not finite on any process; the weights have not changed.
        """

    def after(self, done: int, monitor: Monitor) -> Verdict:
        """Called after each step: validation, when it is due."""

    def save(self, done: int, path: Path) -> None:
        """Write a checkpoint. A collective call."""


def run_steps(task: Task, stream: Stream, plan: Plan, *, fabric: Fabric, files: RunFolder, monitor: Monitor) -> None:
    """Run the steps that are left.

    Args:
        task: the kind of training.
        stream: its batches.
        plan: how many steps.
        fabric: launched.
        files: the folder of the run.
        monitor: of its logs.
    Raises:
        TrainingError: a loss is not finite (the batches are saved), or a checkpoint cannot be written.
        KeyboardInterrupt: a signal stopped the run, after a checkpoint.
    """
    with monitor, stop_on_signals(_announce_stop) as stop:
        task.begin(monitor)
        batches = iter(stream)
        for step in range(plan.first_step, plan.steps):
            with monitor.waiting_for_data():
                loaded = [next(batches) for _ in range(plan.accumulate)]
            rate = task.learning_rate(step)
            try:
                numbers = task.step(step, loaded, rate)
            except FloatingPointError as error:
                raise _save_bad_batch(files.path, fabric.global_rank, step, loaded, error, plan.remedy) from error
            done = step + 1
            monitor.log_step(done, numbers, rate)
            verdict = task.after(done, monitor)
            ended = verdict.finished or done == plan.steps
            with monitor.not_training():
                if verdict.improved:
                    task.save(done, files.best)
                is_stopped = any_process(stop.is_set()) and not ended
                if done % plan.save_every == 0 or ended or is_stopped:
                    task.save(done, files.last)
            if is_stopped:
                raise KeyboardInterrupt(f"stopped after step {done} of {plan.steps}")
            if ended:
                return


def _announce_stop(signal_name: str) -> None:
    logger.warning("%s: finishing the step and writing a checkpoint; once more stops immediately", signal_name)


def _save_bad_batch(
    folder: Path, rank: int, step: int, loaded: Sequence[dict[str, Any]], error: FloatingPointError, remedy: str
) -> TrainingError:
    """Save the batches of a failed step, and return an error that says where."""
    path = folder / f"bad-batch-step{step + 1}-rank{rank}.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.save({"step": step + 1, "batches": list(loaded)}, path)
        saved = f"the batch is saved as {path}"
    except (OSError, RuntimeError) as full:  # torch's zip writer reports a full disk as a RuntimeError
        saved = f"the batch cannot be saved as {path} ({str(full).partition(chr(10))[0]})"
    return TrainingError(f"step {step + 1} stopped: {error}; {saved}. Inspect its clips, then {remedy}")
