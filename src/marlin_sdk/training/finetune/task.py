"""The task of a run of fine-tuning: its steps, validation, checkpoints, and what it finds."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, TrainingError
from marlin_sdk.evaluation.probe.heads import Head
from marlin_sdk.evaluation.probe.targets import Target
from marlin_sdk.model import Encoder
from marlin_sdk.training.cost import model_gmac
from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.finetune.data.clips import ClipDataset
from marlin_sdk.training.finetune.data.division import Division
from marlin_sdk.training.finetune.data.table import LabelledTable, values_of
from marlin_sdk.training.finetune.data.training_clips import TrainingClips, collate_training
from marlin_sdk.training.finetune.features import WindowRows, window_rows
from marlin_sdk.training.finetune.frozen import fit_frozen, load_rows, save_rows
from marlin_sdk.training.finetune.learner import Learner
from marlin_sdk.training.finetune.network import FineTuned, feature_width, make_head
from marlin_sdk.training.finetune.objective import Objective
from marlin_sdk.training.finetune.protocol import TEST_SEED, Plateau
from marlin_sdk.training.finetune.selecting import Selection, raw_outputs, validate
from marlin_sdk.training.finetune.state import load_learner, load_weights, save_learner
from marlin_sdk.training.loop import Plan, Verdict, run_steps
from marlin_sdk.training.monitor import Monitor
from marlin_sdk.training.run_folder import RunFolder
from marlin_sdk.training.schedule import learning_rate
from marlin_sdk.training.settings import save_settings
from marlin_sdk.training.strategy import any_process, gather, loader_workers
from marlin_sdk.training.stream import Stream, seed_of

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["FineTuning", "Result", "first_open"]

logger = logging.getLogger("marlin_sdk")

_REMEDY = "continue with --resume and a lower base_lr, or start again"
_NAMED = 3
_SETTLE_CLIPS = 256  # a mean is then off by a sixteenth of the standard deviation


@dataclass(frozen=True, eq=False)
class Result:
    """What a run found; the same on every process.

    Attributes:
        folder: of the run.
        steps: steps done.
        best_epoch: epoch of the best weights, without a validation part the last; 0 is the linear probe.
        network: with the best weights, on the CPU.
        objective: what was learned.
        targets: the labels.
        division: of the clips.
        frozen: the heads of the linear probe.
        frozen_rows: features of the frozen encoder.
        rows: features of the best weights, of the clips that are tested or validated.
        notes: what there is to know, in words.
        speed: clips a second and shares of time, of the last log entry.
    """

    folder: Path
    steps: int
    best_epoch: int
    network: FineTuned
    objective: Objective
    targets: tuple[Target, ...]
    division: Division
    frozen: list[Head]
    frozen_rows: WindowRows
    rows: WindowRows
    notes: tuple[str, ...]
    speed: Mapping[str, float]


class FineTuning:
    """One process of a run: the task of `run_steps`."""

    def __init__(
        self,
        config: FinetuneConfig,
        files: RunFolder,
        fabric: Fabric,
        table: LabelledTable,
        targets: tuple[Target, ...],
        division: Division,
        settings: dict[str, Any],
    ) -> None:
        self.config, self.files, self.fabric = config, files, fabric
        self.table, self.targets, self.division, self.settings = table, targets, division, settings
        self.values = torch.from_numpy(values_of(targets))
        self.objective = Objective.of(
            targets, division.train, balanced=config.class_weights, smoothing=config.label_smoothing
        )
        train = ClipDataset.of(table, targets, division.train, windows="random", seed=config.seed)
        self.data = TrainingClips(train, batch_size=config.batch_size, seed=config.seed, windows=config.train_windows)
        self.workers = loader_workers(config.num_workers, fabric, devices=config.devices)
        self.stream = Stream(
            self.data,
            batch_size=config.batch_size,
            num_workers=self.workers,
            seed=config.seed,
            collate=collate_training,
            too_few=lambda: TrainingError("there is less than one batch of training clips"),
        )
        self.epoch_steps = max(1, (len(division.train) // (config.batch_size * fabric.world_size)) // config.accumulate)
        self.steps = config.epochs * self.epoch_steps
        self.first_step, self.selection, self.finished = 0, Selection(), False
        self.plateau, self.epoch_losses = Plateau(), [0.0, 0.0]
        self.broken: dict[str, str] = {}
        self.learner: Learner
        self.frozen: list[Head]

    def run(self, encoder: Encoder, *, resume: bool, progress: bool, notes: list[str]) -> Result:
        encoder.requires_grad_()
        encoder.positions.requires_grad = False  # a table
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            follow = self.config.protocol == "own"
            width = feature_width(encoder.config, self.config.pool)
            head = make_head(self.config.head, width, self.objective, follow=follow)
        network = FineTuned(encoder, head, pool=self.config.pool)
        self.learner = Learner(self.config, network, self.objective, self.fabric)
        rows, self.frozen = self._frozen()
        notes = [*notes, *_said(self.table, rows.broken)]
        if resume:
            self._resume()
        if self.fabric.is_global_zero:
            save_settings(self.settings, self.files.settings_file)
        speed: Mapping[str, float] = {}
        if not self.finished:
            monitor = self._monitor(progress=progress)
            plan = Plan(self.first_step, self.steps, self.config.accumulate, self.config.save_every, _REMEDY)
            run_steps(self, self.stream, plan, fabric=self.fabric, files=self.files, monitor=monitor)
            speed = monitor.last_speed
        best = self.files.best if self.files.best.is_file() else self.files.last
        load_weights(self.learner.network, best)
        taken = self.selection.best_epoch if len(self.division.val) else self.selection.step // self.epoch_steps
        tested = np.union1d(self.division.test, self.division.val)
        found = self._features(tested, test=True)
        notes += [*_said(self.table, found.broken), *self._said_broken()]
        return Result(
            self.files.path, self.selection.step or self.steps, taken, self.learner.network.cpu(),
            self.objective, self.targets, self.division, self.frozen, rows, found, tuple(dict.fromkeys(notes)), speed,
        )  # fmt: skip

    def begin(self, monitor: Monitor) -> None:
        """The linear probe is the first candidate for the best weights, whatever head training starts from."""
        if self.first_step or not len(self.division.val):
            return
        head = self.learner.network.head
        own = {key: tensor.clone() for key, tensor in head.state_dict().items()}
        if self.config.protocol == "own":
            head.start(self.frozen, self.objective)
        self._validate(0, monitor)
        with monitor.not_training():
            self.save(0, self.files.best)
        head.load_state_dict(own)

    def learning_rate(self, step: int) -> float:
        """By the schedule, or as the training loss rests."""
        if self.config.protocol == "marlin":
            return self.plateau.rate
        return learning_rate(step, self.steps, self.config)

    def step(self, step: int, loaded: Sequence[dict[str, Any]], rate: float) -> Callable[[], Mapping[str, float]]:
        """Once forward and backward, with the layers that are open."""
        for items in loaded:
            self._count_broken(items)
        opening = self.config.opening * self.steps
        loss = self.learner.step(
            loaded,
            values=self.values,
            learning_rate=rate,
            first_open=first_open(step, opening=opening, layers=self.learner.network.num_layers),
            seed=seed_of(self.config.seed, step, self.fabric.global_rank),
        )
        if self.config.protocol == "marlin":
            self.epoch_losses = [self.epoch_losses[0] + float(loss), self.epoch_losses[1] + 1]
        return lambda: {"loss": float(loss)}

    def after(self, done: int, monitor: Monitor) -> Verdict:
        """Validate after each epoch; end where nothing has improved for long."""
        if done % self.epoch_steps:
            return Verdict()
        with monitor.not_training():
            self._settle()
        improved = self._validate(done, monitor) if len(self.division.val) else False
        if self.config.protocol == "marlin":
            self.finished = self.plateau.add(self.epoch_losses[0] / max(self.epoch_losses[1], 1))
            self.epoch_losses = [0.0, 0.0]
        elif self.config.patience and len(self.division.val):
            self.finished = self.selection.rested >= self.config.patience
        return Verdict(improved=improved, finished=self.finished)

    def save(self, done: int, path: Path) -> None:
        """Write a checkpoint."""
        self.selection.step = done
        values = {
            "step": done,
            "epoch": self.stream.epoch,
            "places": gather([self.stream.epoch, self.stream.batch_index]),
            "selection": asdict(self.selection),
            "plateau": asdict(self.plateau),
            "epoch_losses": self.epoch_losses,
            "broken": self.broken,
            "finished": self.finished or done == self.steps,
        }
        save_learner(self.learner, path, values, self.settings)
        self.fabric.barrier()

    def _frozen(self) -> tuple[WindowRows, list[Head]]:
        """Features of all clips from the encoder as it starts, and the heads on them."""
        path = self.files.path / "checkpoints" / "frozen.safetensors"
        division = self.division
        if path.is_file() and self.files.last.is_file():
            rows = load_rows(path)
        else:
            clips = np.unique(np.concatenate([division.train, division.val, division.test]))
            rows = self._features(clips)
            if self.fabric.is_global_zero:
                try:
                    save_rows(path, rows)
                except OSError as error:
                    raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error
            self.fabric.barrier()
        self._check_broken(len(rows.broken), len(rows.broken) + len(rows.rows))
        heads = fit_frozen(
            rows, self.table.samples, self.targets, division.train, self.config.head, seed=self.config.seed
        )
        if self.config.linear_probe:
            self.learner.network.head.start(heads, self.objective)
        return rows, heads

    def _features(self, clips: NDArray[np.int64], *, test: bool = False) -> WindowRows:
        once = test and self.config.protocol == "marlin"
        data = ClipDataset.of(
            self.table, self.targets, clips, windows="random" if once else "all", seed=TEST_SEED if once else 0
        )
        return self._rows(data)

    def _rows(self, data: ClipDataset) -> WindowRows:
        return window_rows(
            data,
            self.learner.features,
            self.fabric,
            batch_size=self.config.test_batch,
            num_workers=self.workers,
        )

    def _settle(self) -> None:
        """Standardise by features of some training clips from the weights as they are, a random window of each."""
        if self.config.protocol == "own":
            seed = self.config.seed
            some = np.random.default_rng(seed).permutation(self.division.train)[:_SETTLE_CLIPS]
            rows = self._rows(ClipDataset.of(self.table, self.targets, np.sort(some), windows="random", seed=seed))
            if len(rows.row):
                self.learner.network.head.standard.settle(rows.features)

    def _validate(self, done: int, monitor: Monitor) -> bool:
        """Returns whether the weights are the best so far."""
        rows = self._features(self.division.val, test=True)
        kept, raw = raw_outputs(self.learner.network.head, rows, self.division.val)
        measured = validate(self.objective, raw, self.values[torch.from_numpy(kept)])
        monitor.log_validation(done, {f"val/{name}": value for name, value in measured.items()})
        return self.selection.add(done // self.epoch_steps, measured, by_auc=self.config.protocol == "marlin")

    def _monitor(self, *, progress: bool) -> Monitor:
        config = self.config
        windows = config.batch_size * config.accumulate * config.train_windows
        return Monitor(
            self.files.path,
            self.fabric,
            first_step=self.first_step,
            steps=self.steps,
            log_every=config.log_every,
            clips_per_step=config.clips_per_step * config.train_windows,
            gflop_per_step=3 * 2 * model_gmac(self.learner.network.encoder.config) * windows,
            progress=progress,
        )

    def _resume(self) -> None:
        saved = load_learner(self.learner, self.files.last)
        places = saved["places"]
        if len(places) != self.fabric.world_size:
            raise ConfigError(
                f"the run in {self.files.path} used {len(places)} processes; it cannot resume with "
                f"{self.fabric.world_size}"
            )
        self.stream.seek(*places[self.fabric.global_rank])
        self.first_step, self.selection = saved["step"], Selection(**saved["selection"])
        self.plateau, self.epoch_losses = Plateau(**saved["plateau"]), list(saved["epoch_losses"])
        self.broken, self.finished = dict(saved["broken"]), saved["finished"]
        logger.info("resuming after step %d of %d", self.first_step, self.steps)

    def _count_broken(self, items: dict[str, Any]) -> None:
        for id, why in zip(items["id"], items["broken"], strict=True):
            if why and id not in self.broken:
                self.broken[id] = why
                logger.warning("%s is damaged, and is skipped: %s", id, why)
        self._check_broken(len(self.broken), len(self.division.train))

    def _check_broken(self, count: int, total: int) -> None:
        if any_process(count > self.config.max_broken * total):
            named = f", such as {': '.join(next(iter(self.broken.items())))}" if self.broken else ""
            raise TrainingError(
                f"{count} of {total} clips are damaged{named}, more than max_broken = {self.config.max_broken:g} "
                "allows; prepare their videos again"
            )

    def _said_broken(self) -> list[str]:
        everywhere = {id: why for own in gather(self.broken) for id, why in own.items()}
        return _listed(everywhere)


def first_open(step: int, *, opening: float, layers: int) -> int:
    """The lowest layer that is trained at a step.

    Args:
        step: from 0.
        opening: steps in which the layers open one after the other, the last one first.
        layers: how many there are.
    """
    return 0 if step >= opening else max(0, layers - 1 - math.floor(step / opening * layers))


def _said(table: LabelledTable, broken: Mapping[int, str]) -> list[str]:
    return _listed({table.places[row].id: why for row, why in broken.items()})


def _listed(broken: Mapping[str, str]) -> list[str]:
    if not broken:
        return []
    names = sorted(broken)
    shown = ", ".join(names[:_NAMED]) + ", ..." * (len(names) > _NAMED)
    return [f"{len(names)} clips are damaged and were skipped ({shown}): {broken[names[0]]}"]
