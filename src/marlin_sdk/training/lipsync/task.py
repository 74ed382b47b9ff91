"""The steps of a run of training to make lips, its validation, checkpoints and export."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from marlin_sdk.errors import ConfigError, TrainingError, WeightsError
from marlin_sdk.lipsync.files import LipsFacts, save_lips
from marlin_sdk.training.checkpoint import (
    model_state,
    optimizer_state,
    read_checkpoint,
    restore_state,
    write_checkpoint,
)
from marlin_sdk.training.cost import model_gmac
from marlin_sdk.training.lipsync.config import TASK
from marlin_sdk.training.lipsync.data import LipsDataset
from marlin_sdk.training.lipsync.held_out import measure
from marlin_sdk.training.lipsync.learner import Learner
from marlin_sdk.training.loop import Plan, Verdict, run_steps
from marlin_sdk.training.monitor import Monitor
from marlin_sdk.training.run_folder import RunFolder
from marlin_sdk.training.schedule import learning_rate
from marlin_sdk.training.settings import save_settings
from marlin_sdk.training.strategy import gather
from marlin_sdk.training.stream import Stream
from marlin_sdk.training.sync.data import collate

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["LipsResult", "LipsTraining"]

logger = logging.getLogger("marlin_sdk")

_REMEDY = "continue with --resume and a lower base_lr, or with clip_norm set"


@dataclass(frozen=True)
class LipsResult:
    """The result of a run.

    Attributes:
        folder: for `LipMaker.from_folder`.
        step: steps done.
        loss: the last training loss of pixels; NaN if no step was left to do.
        metrics: on the tracks held out, of the exported weights; empty without any.
        notes: what was left out.
    """

    folder: Path
    step: int
    loss: float
    metrics: Mapping[str, float]
    notes: tuple[str, ...] = ()


class LipsTraining:
    """The task of `run_steps`, in one process.

    Args:
        learner: the networks.
        files: the folder of the run.
        fabric: launched.
        settings: of the run, for its checkpoints.
        about: the data, in one sentence.
        steps: of the whole run.
    """

    def __init__(
        self,
        learner: Learner,
        files: RunFolder,
        fabric: Fabric,
        settings: dict[str, Any],
        about: str,
        steps: int,
    ) -> None:
        self.learner, self.config = learner, learner.config
        self.files, self.fabric, self.settings = files, fabric, settings
        self.about, self.steps = about, steps
        self.first_step, self.best, self.loss = 0, math.inf, math.nan
        self.best_metrics: dict[str, float] = {}

    def run(
        self, train: LipsDataset, val: LipsDataset | None, *, resume: bool, progress: bool, notes: Sequence[str]
    ) -> LipsResult:
        """Start or resume, and run to the end."""
        config, fabric = self.config, self.fabric
        self.val = val
        if val is None:
            notes = [*notes, "no tracks are held out: nothing says how good the model is"]
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
            clips_per_step=config.clips_per_step,
            gflop_per_step=6 * clips * model_gmac(self.learner.network.config.model), progress=progress,
        )  # fmt: skip
        plan = Plan(self.first_step, self.steps, config.accumulate, config.save_every, _REMEDY)
        run_steps(self, self.stream, plan, fabric=fabric, files=self.files, monitor=monitor)
        return LipsResult(self.files.path, self.steps, self.loss, self.best_metrics, tuple(notes))

    def begin(self, monitor: Monitor) -> None:
        """Nothing to do before the first step."""

    def learning_rate(self, step: int) -> float:
        """By the schedule."""
        return learning_rate(step, self.steps, self.config)

    def step(self, step: int, loaded: Sequence[dict[str, Any]], rate: float) -> Callable[[], Mapping[str, float]]:
        """Critic and network, once."""
        weight = self.config.sync_weight if step >= self.config.sync_from * self.steps else 0.0
        numbers = self.learner.step(loaded, learning_rate=rate, sync_weight=weight if self.learner.judge else 0.0)

        def by_name() -> dict[str, float]:
            self.loss, sync, fooling, critic = numbers.tolist()
            used = {"pixels": True, "sync": weight > 0 and self.learner.judge is not None}
            used |= dict.fromkeys(("fooling", "critic"), self.learner.critic is not None)
            found = zip(("pixels", "sync", "fooling", "critic"), (self.loss, sync, fooling, critic), strict=True)
            return {name: value for name, value in found if used[name]}

        return by_name

    def after(self, done: int, monitor: Monitor) -> Verdict:
        """Measure on the tracks held out, when it is due."""
        if self.val is None or (done % self.config.val_every and done != self.steps):
            return Verdict()
        with monitor.not_training():
            metrics, picture = measure(self.learner, self.val, most=self.config.val_clips)
        monitor.log_validation(done, {f"val/{name}": value for name, value in metrics.items()})
        monitor.log_picture(done, "true above made", picture)
        improved = metrics["loss"] < self.best
        if improved:
            self.best, self.best_metrics = metrics["loss"], metrics
        return Verdict(improved=improved)

    def save(self, done: int, path: Path) -> None:
        """Write a checkpoint, and export the model: that of the best weights if there are tracks held out."""
        learner = self.learner
        state = model_state(learner.network)
        content = {
            "state_dict": state,
            "hyper_parameters": learner.network.config.to_dict(),
            "progress": {
                "step": done,
                "epoch": self.stream.epoch,
                "places": gather([self.stream.epoch, self.stream.batch_index]),
                "best": self.best,
                "best_metrics": self.best_metrics,
            },
            TASK: self.settings,
            "optimizer": optimizer_state(learner.network, learner.adamw),
        }
        if learner.critic is not None and learner.critic_optimizer is not None:
            content["critic"] = learner.critic.state_dict()
            content["critic_optimizer"] = learner.critic_optimizer.state_dict()
        write_checkpoint(path, content, self.fabric, task=TASK)
        if self.fabric.is_global_zero and (path == self.files.best or self.val is None):
            self._export(state, done)
        self.fabric.barrier()

    def _export(self, state: Mapping[str, Tensor], done: int) -> None:
        facts = LipsFacts(
            step=done,
            start=self.settings["start"],
            sync=self.settings["sync"],
            metrics=self.best_metrics,
            data=self.about,
        )
        try:
            save_lips(self.files.path, state, self.learner.network.config, facts)
        except OSError as error:
            raise TrainingError(f"cannot write the model of step {done} to {self.files.path}: {error}") from error

    def _resume(self) -> None:
        learner, content = self.learner, read_checkpoint(self.files.last, task=TASK)
        if content["hyper_parameters"] != learner.network.config.to_dict():
            raise WeightsError(f"{self.files.last} is a checkpoint of a network of another size")
        restore_state(learner.network, learner.adamw, content["state_dict"], content["optimizer"])
        if learner.critic is not None and learner.critic_optimizer is not None:
            learner.critic.load_state_dict(content["critic"])
            learner.critic_optimizer.load_state_dict(content["critic_optimizer"])
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
