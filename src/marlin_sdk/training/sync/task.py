"""The steps of a run of training for synchronisation, its validation, its checkpoints and its export."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from marlin_sdk.errors import ConfigError, TrainingError, WeightsError
from marlin_sdk.model import Encoder
from marlin_sdk.sync.files import SyncFacts, save_sync
from marlin_sdk.training.checkpoint import (
    model_state,
    optimizer_state,
    read_checkpoint,
    restore_state,
    write_checkpoint,
)
from marlin_sdk.training.cost import model_gmac
from marlin_sdk.training.loop import Plan, Verdict, run_steps
from marlin_sdk.training.monitor import Monitor
from marlin_sdk.training.run_folder import RunFolder
from marlin_sdk.training.schedule import learning_rate
from marlin_sdk.training.settings import save_settings
from marlin_sdk.training.strategy import gather
from marlin_sdk.training.stream import Stream
from marlin_sdk.training.sync.config import TASK, SyncTrainConfig
from marlin_sdk.training.sync.data import SyncDataset, collate
from marlin_sdk.training.sync.held_out import measure
from marlin_sdk.training.sync.learner import Learner, build_network

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["SyncResult", "SyncTraining"]

logger = logging.getLogger("marlin_sdk")

_REMEDY = "continue with --resume and a lower base_lr, or with clip_norm set"


@dataclass(frozen=True)
class SyncResult:
    """The result of a run.

    Attributes:
        folder: for `SyncScorer.from_folder`.
        step: steps done.
        loss: the last training loss; NaN if no step was left to do.
        metrics: on the tracks held out, of the exported weights; empty without any.
        notes: what was left out.
    """

    folder: Path
    step: int
    loss: float
    metrics: Mapping[str, float]
    notes: tuple[str, ...] = ()


class SyncTraining:
    """The task of `run_steps`, in one process."""

    def __init__(
        self,
        config: SyncTrainConfig,
        files: RunFolder,
        fabric: Fabric,
        settings: dict[str, Any],
        about: str,
        steps: int,
    ) -> None:
        self.config, self.files, self.fabric, self.settings = config, files, fabric, settings
        self.about, self.steps = about, steps
        self.first_step, self.best, self.loss = 0, math.inf, math.nan
        self.metrics: dict[str, float] = {}
        self.best_metrics: dict[str, float] = {}

    def run(
        self,
        encoder: Encoder,
        train: SyncDataset,
        val: SyncDataset | None,
        *,
        resume: bool,
        progress: bool,
        notes: Sequence[str],
    ) -> SyncResult:
        """Start or resume, and run to the end."""
        config, fabric = self.config, self.fabric
        self.val = val if val is not None and val.num_clips > 1 else None
        if self.val is None:
            notes = [*notes, "fewer than two tracks are held out: nothing says how good the model is, nor how sure"]
        self.learner = Learner(config, build_network(config, encoder), fabric)
        self.stream = Stream(
            train, batch_size=config.batch_size, num_workers=config.num_workers, seed=config.seed, collate=collate,
            too_few=self._too_few,
        )  # fmt: skip
        if resume:
            self._resume()
        if fabric.is_global_zero:
            save_settings(self.settings, self.files.settings_file)
        clips = config.batch_size * config.windows * config.accumulate
        monitor = Monitor(
            self.files.path, fabric, first_step=self.first_step, steps=self.steps, log_every=config.log_every,
            clips_per_step=config.clips_per_step, gflop_per_step=6 * clips * model_gmac(encoder.config),
            progress=progress,
        )  # fmt: skip
        plan = Plan(self.first_step, self.steps, config.accumulate, config.save_every, _REMEDY)
        run_steps(self, self.stream, plan, fabric=fabric, files=self.files, monitor=monitor)
        return SyncResult(self.files.path, self.steps, self.loss, self.best_metrics, tuple(notes))

    def begin(self, monitor: Monitor) -> None:
        """Nothing to do before the first step."""

    def learning_rate(self, step: int) -> float:
        """By the schedule."""
        return learning_rate(step, self.steps, self.config)

    def step(self, step: int, loaded: Sequence[dict[str, Any]], rate: float) -> Callable[[], Mapping[str, float]]:
        """Both branches, once."""
        numbers = self.learner.step(loaded, learning_rate=rate)

        def by_name() -> dict[str, float]:
            self.loss, near = (float(number) for number in numbers)
            return {"loss": self.loss, "within_1": near}

        return by_name

    def after(self, done: int, monitor: Monitor) -> Verdict:
        """Measure on the tracks held out, when it is due."""
        if self.val is None or (done % self.config.val_every and done != self.steps):
            return Verdict()
        with monitor.not_training():
            self.metrics = measure(self.learner, self.val, most=self.config.val_clips)
        monitor.log_validation(done, {f"val/{name}": value for name, value in self.metrics.items()})
        improved = self.metrics["loss"] < self.best
        if improved:
            self.best, self.best_metrics = self.metrics["loss"], self.metrics
        return Verdict(improved=improved)

    def save(self, done: int, path: Path) -> None:
        """Write a checkpoint, and export the model: that of the best weights if there are tracks held out."""
        state = model_state(self.learner.network)
        content = {
            "state_dict": state,
            "hyper_parameters": self.learner.network.config.to_dict(),
            "progress": {
                "step": done,
                "epoch": self.stream.epoch,
                "places": gather([self.stream.epoch, self.stream.batch_index]),
                "best": self.best,
                "best_metrics": self.best_metrics,
            },
            TASK: self.settings,
            "optimizer": optimizer_state(self.learner.network, self.learner.adamw),
        }
        write_checkpoint(path, content, self.fabric, task=TASK)
        if self.fabric.is_global_zero and (path == self.files.best or self.val is None):
            self._export(state, done)
        self.fabric.barrier()

    def _export(self, state: Mapping[str, Tensor], done: int) -> None:
        facts = SyncFacts(
            max_distance=self.best_metrics.get("other_distance"),
            step=done,
            start=self.settings["start"],
            metrics=self.best_metrics,
            data=self.about,
        )
        try:
            save_sync(self.files.path, state, self.learner.network.config, facts)
        except OSError as error:
            raise TrainingError(f"cannot write the model of step {done} to {self.files.path}: {error}") from error

    def _resume(self) -> None:
        content = read_checkpoint(self.files.last, task=TASK)
        own = self.learner.network.config.to_dict()
        if content["hyper_parameters"] != own:
            raise WeightsError(f"{self.files.last} is a checkpoint of a network of another size")
        restore_state(self.learner.network, self.learner.adamw, content["state_dict"], content["optimizer"])
        progress = content["progress"]
        if len(progress["places"]) != self.fabric.world_size:
            raise ConfigError(
                f"the run in {self.files.path} used {len(progress['places'])} processes; it cannot resume in mid-epoch "
                f"with {self.fabric.world_size}"
            )
        self.stream.seek(*progress["places"][self.fabric.global_rank])
        self.first_step, self.best = progress["step"], progress["best"]
        self.best_metrics = dict(progress["best_metrics"])
        if self.first_step > self.steps:
            raise ConfigError(f"the run in {self.files.path} has already done {self.first_step} of {self.steps} steps")
        logger.info("resuming after step %d of %d", self.first_step, self.steps)

    def _too_few(self) -> TrainingError:
        return TrainingError(
            f"there are fewer training tracks than the {self.config.batch_size} of a batch; give more videos, or lower "
            "--batch-size"
        )
