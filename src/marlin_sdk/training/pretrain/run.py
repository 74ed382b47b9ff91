"""A pretraining run: steps, validation on held-out clips, checkpoints, export of the model."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from marlin_sdk.errors import ConfigError, TrainingError
from marlin_sdk.training.loop import Plan, Verdict, run_steps
from marlin_sdk.training.monitor import Monitor
from marlin_sdk.training.pretrain.config import TASK, PretrainConfig
from marlin_sdk.training.pretrain.cost import step_gflop
from marlin_sdk.training.pretrain.held_out import HeldOut
from marlin_sdk.training.pretrain.initialise import initialise_from
from marlin_sdk.training.pretrain.learner import Batch, Learner, build_networks
from marlin_sdk.training.pretrain.publish import Card, export_model, licence_of
from marlin_sdk.training.pretrain.state import load_learner, save_learner
from marlin_sdk.training.pretrain.stream import BatchStream
from marlin_sdk.training.probe import LabelledClips, probe_accuracy, probe_features
from marlin_sdk.training.run_folder import RunFolder
from marlin_sdk.training.schedule import learning_rate, total_steps
from marlin_sdk.training.settings import save_settings
from marlin_sdk.training.strategy import gather, launch
from marlin_sdk.training.stream import Dataset, seed_of
from marlin_sdk.weights.checkpoints import from_published_keys

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["PretrainResult", "Run", "pretrain", "run_folder"]

logger = logging.getLogger("marlin_sdk")

# Settings that may change when a run resumes: those that do not affect a step, except the length of the schedule,
_MAY_CHANGE = frozenset(
    {"max_steps", "epochs", "num_workers", "log_every", "save_every", "val_every", "picture_every", "val_clips"}
    | {"probe_every"}
    | {"checkpoint_blocks", "accelerator", "strategy"}
    | {"base_lr", "base_min_lr", "clip_norm", "gradient_penalty"}  # and remedies for a loss that is not finite
)
_ADDED = {"visible_weight": 0.0}
_REMEDY = "continue with --resume and a lower base_lr, or with clip_norm or gradient_penalty set"


@dataclass(frozen=True)
class PretrainResult:
    """The result of a run.

    Attributes:
        folder: for `Marlin.from_pretrained`.
        step: steps done.
        reconstruction: the last training loss; NaN if no step was left to do.
        best: the smallest loss on held-out clips; None without any.
    """

    folder: Path
    step: int
    reconstruction: float
    best: float | None


@dataclass(frozen=True)
class Run:
    """How a run starts, and the contents of its model card.

    Attributes:
        init: weights to start from: MARLIN's (as in `Marlin.from_pretrained`) or VideoMAE's.
        resume: continue from the last checkpoint of the folder.
        name: of the model, for its card; by default the folder's.
        data: the training data, for its card.
        licence: of the model, for its card: an identifier of the Hub's list.
        probe: labelled clips, on which a linear probe of the encoder is trained and tested from time to time.
        progress: show a progress bar on stderr.
    """

    init: str | None = None
    resume: bool = False
    name: str | None = None
    data: str = "Not stated."
    licence: str | None = None
    probe: LabelledClips | None = None
    progress: bool = False


def run_folder(path: str | Path) -> RunFolder:
    """The folder of a pretraining run."""
    return RunFolder(Path(path), task=TASK, settings_name="pretrain.yaml", may_change=_MAY_CHANGE, added=_ADDED)


def pretrain(
    config: PretrainConfig, output: str | Path, *, train: Dataset, val: Dataset | None = None, run: Run | None = None
) -> PretrainResult:
    """Pretrain a model.

    The folder then holds `config.json`, `model.safetensors` and `README.md` (the best weights on held-out clips, the
    last ones without any), `checkpoints/last.ckpt` and `checkpoints/best.ckpt`, `pretrain.yaml`, `initialised.txt`,
    `metrics.jsonl`, `logs/` for TensorBoard and `pictures/`.

    Args:
        config: the settings.
        output: the folder.
        train: yields {"clip": uint8 (16, 224, 224, 3), "regions": uint8 (8, 14, 14), "id": str, ...}, in an order that
            depends only on its `set_epoch`. If there are held-out clips, the first 64 of epoch 0 are also read when a
            run starts or resumes, for the mean face that validation compares with.
        val: the same for held-out clips.
        run: initial weights or resuming, and the model card.
    Raises:
        ConfigError: invalid settings, or a folder that already holds a run, or that another run is using.
        TrainingError: a loss or a gradient is not finite (the batch is saved), a checkpoint cannot be written, too few
            clips.
        WeightsError: `init` or the checkpoint does not fit.
        MissingExtraError: the extra [train] is not installed.
    """
    options, folder = run or Run(), run_folder(output)
    folder.check(config.to_dict(), resume=options.resume, init=options.init)
    if options.probe is not None and config.strategy == "fsdp":
        raise ConfigError('a probe during training needs the whole encoder in one process; use strategy "ddp"')
    steps = _count_steps(config, train)
    fabric = launch(config)
    with folder.lock(fabric):
        return _Training(config, folder, fabric, options, steps).run(train, val)


class _Training:
    """One process of a run."""

    def __init__(self, config: PretrainConfig, files: RunFolder, fabric: Fabric, options: Run, steps: int) -> None:
        self.config, self.files, self.fabric, self.options, self.steps = config, files, fabric, options, steps
        self.folder = files.path
        self.first_step, self.best = 0, math.inf
        self.metrics: dict[str, float] = {}
        self.init = options.init

    def run(self, train: Dataset, val: Dataset | None) -> PretrainResult:
        learner = self._learner()
        stream = BatchStream(train, self.config, rank=self.fabric.global_rank)
        if self.options.resume:
            self._resume(learner, stream)
        held_out = HeldOut(val, train, self.config, self.fabric)  # before the stream sets the position
        if self.fabric.is_global_zero:
            save_settings(self.config.to_dict(), self.files.settings_file)
        monitor = Monitor(
            self.folder,
            self.fabric,
            first_step=self.first_step,
            steps=self.steps,
            log_every=self.config.log_every,
            clips_per_step=self.config.clips_per_step,
            gflop_per_step=step_gflop(self.config),
            progress=self.options.progress,
        )
        plan = Plan(self.first_step, self.steps, self.config.accumulate, self.config.save_every, _REMEDY)
        task = _Steps(self, learner, stream, held_out)
        run_steps(task, stream, plan, fabric=self.fabric, files=self.files, monitor=monitor)
        return PretrainResult(self.folder, self.steps, task.loss, None if math.isinf(self.best) else self.best)

    def _learner(self) -> Learner:
        autoencoder, discriminator = build_networks(self.config)
        if self.options.init is not None:
            initialisation = initialise_from(autoencoder, self.options.init)
            logger.info("%s", initialisation)
            self.init = f"{initialisation.source} ({initialisation.kind})"
            if self.fabric.is_global_zero:
                self.folder.mkdir(parents=True, exist_ok=True)
                lines = "\n".join(initialisation.lines()) + "\n"
                (self.folder / "initialised.txt").write_text(lines, encoding="utf-8")
        return Learner(self.config, autoencoder, discriminator, self.fabric)

    def _resume(self, learner: Learner, stream: BatchStream) -> None:
        progress = load_learner(learner, self.files.last)
        places = progress["places"]
        if len(places) != self.fabric.world_size:
            raise ConfigError(
                f"the run in {self.folder} used {len(places)} processes; it cannot resume in mid-epoch with "
                f"{self.fabric.world_size}"
            )
        stream.seek(*places[self.fabric.global_rank])
        self.first_step, self.best = progress["step"], progress["best"]
        self.metrics, self.init = dict(progress["metrics"]), progress["init"] or None
        if self.first_step > self.steps:
            raise ConfigError(f"the run in {self.folder} has already done {self.first_step} of {self.steps} steps")
        logger.info("resuming after step %d of %d", self.first_step, self.steps)

    def export(self, checkpoint: Path, done: int) -> None:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        card = Card(
            name=self.options.name or self.folder.resolve().name,
            data=self.options.data,
            step=done,
            metrics=self.metrics,
            init=self.init,
            licence=licence_of(self.init, self.options.licence),
        )
        try:
            export_model(self.folder, from_published_keys(content["state_dict"], checkpoint), self.config, card)
        except OSError as error:
            raise TrainingError(
                f"cannot write the model of step {done} to {self.folder}: {error}; {checkpoint} is complete, and "
                "Marlin.from_pretrained can load it"
            ) from error


class _Steps:
    """The task of `run_steps`."""

    def __init__(self, training: _Training, learner: Learner, stream: BatchStream, held_out: HeldOut) -> None:
        self.training, self.learner, self.stream, self.held_out = training, learner, stream, held_out
        self.config, self.fabric, self.steps = training.config, training.fabric, training.steps
        self.loss = math.nan

    def begin(self, monitor: Monitor) -> None:
        """Probe at the very start too: random features are the first thing to beat."""
        self._probe(monitor, self.training.first_step)

    def learning_rate(self, step: int) -> float:
        """By the schedule."""
        return learning_rate(step, self.steps, self.config)

    def step(self, step: int, loaded: Sequence[dict[str, Any]], rate: float) -> Callable[[], Mapping[str, float]]:
        """Both networks, once."""
        batches = [Batch(items["clip"], items["mask"]) for items in loaded]
        seed = seed_of(self.config.seed, step, self.fabric.global_rank)
        losses = self.learner.step(batches, learning_rate=rate, seed=seed)
        self.loss = float(losses.reconstruction)
        return partial(losses.numbers, self.config)

    def after(self, done: int, monitor: Monitor) -> Verdict:
        """Held-out losses, pictures and probes, when they are due."""
        improved = self._validate(monitor, done)
        self._probe(monitor, done)
        return Verdict(improved=improved)

    def save(self, done: int, path: Path) -> None:
        """Write a checkpoint, and export the model: that of the best weights if there are held-out clips."""
        training = self.training
        progress = {
            "step": done,
            "epoch": self.stream.epoch,
            "places": gather([self.stream.epoch, self.stream.batch_index]),
            "best": training.best,
            "metrics": training.metrics,
            "init": training.init or "",
        }
        save_learner(self.learner, path, progress)
        if self.fabric.is_global_zero and (path == training.files.best or math.isinf(training.best)):
            training.export(path, done)
        self.fabric.barrier()

    def _validate(self, monitor: Monitor, done: int) -> bool:
        """Returns whether the loss was the best so far."""
        training, held_out = self.training, self.held_out
        last, improved = done == self.steps, False
        if held_out and (last or done % self.config.val_every == 0):
            metrics = held_out.metrics(self.learner)
            loss = metrics["reconstruction"]
            improved, training.best = loss < training.best, min(training.best, loss)
            training.metrics = {f"val/{name}": value for name, value in metrics.items()}
            monitor.log_validation(done, training.metrics)
        if held_out and (last or done % self.config.picture_every == 0):
            monitor.log_picture(done, "reconstruction", held_out.picture(self.learner))
        return improved

    def _probe(self, monitor: Monitor, done: int) -> None:
        """Probe the encoder when it is due."""
        training = self.training
        clips, last = training.options.probe, done == self.steps
        is_due = done % self.config.probe_every == 0 or last
        if clips is None or not is_due or (done == training.first_step and done):
            return
        if self.fabric.is_global_zero:
            features = probe_features(self.learner.encode, clips, self.config.model)
            found = {f"probe/{pool}": float(probe_accuracy(values, clips).mean()) for pool, values in features.items()}
            monitor.log_validation(done, {**found, "probe/majority": clips.majority})
        self.fabric.barrier()


def _count_steps(config: PretrainConfig, train: Iterable[Any]) -> int:
    num_clips = getattr(train, "num_clips", None)
    if config.max_steps is None and num_clips is None:
        raise ConfigError("the data set has no num_clips; set max_steps")
    return total_steps(config, num_clips or 0)
