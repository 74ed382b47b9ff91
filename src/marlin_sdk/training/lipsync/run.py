"""A run of training to make lips: faces and sounds of videos, steps, validation, export."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from marlin_sdk.errors import ConfigError, MarlinError, TrainingError, WeightsError
from marlin_sdk.lipsync.files import LipsFacts, save_lips
from marlin_sdk.sync.files import load_sync
from marlin_sdk.sync.network import FPS, SyncNetwork
from marlin_sdk.training.checkpoint import (
    model_state,
    optimizer_state,
    read_checkpoint,
    restore_state,
    write_checkpoint,
)
from marlin_sdk.training.cost import model_gmac
from marlin_sdk.training.lipsync.config import TASK, LipsTrainConfig
from marlin_sdk.training.lipsync.data import LipsDataset, open_lips
from marlin_sdk.training.lipsync.held_out import measure
from marlin_sdk.training.lipsync.learner import Learner, build_networks
from marlin_sdk.training.loop import Plan, Verdict, run_steps
from marlin_sdk.training.monitor import Monitor
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.folder import DataFolder, Outcome
from marlin_sdk.training.prepare.run import prepare
from marlin_sdk.training.prepare.sources import find_sources, plan_sources
from marlin_sdk.training.run_folder import RunFolder
from marlin_sdk.training.schedule import learning_rate, total_steps
from marlin_sdk.training.settings import save_settings
from marlin_sdk.training.strategy import gather, launch
from marlin_sdk.training.stream import Stream
from marlin_sdk.training.sync.data import collate
from marlin_sdk.training.sync.run import Start
from marlin_sdk.training.sync.sounds import SoundFolder, describe_left_out

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from marlin_sdk.model import Encoder

__all__ = ["LipsResult", "run_folder", "train_lips"]

logger = logging.getLogger("marlin_sdk")

_MAY_CHANGE = frozenset(
    {"max_steps", "epochs", "num_workers", "log_every", "save_every", "val_every", "val_clips", "accelerator"}
    | {"base_lr", "base_min_lr", "clip_norm"}  # remedies for a loss that is not finite
)
_MIN_FACE_PX = 48
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


def run_folder(path: str | Path) -> RunFolder:
    """The folder of a run."""
    return RunFolder(Path(path), task=TASK, settings_name="lips.yaml", may_change=_MAY_CHANGE, added={})


def train_lips(
    videos: Sequence[str | Path],
    output: str | Path,
    config: LipsTrainConfig | None = None,
    *,
    start: Start | None = None,
    sync: str | Path | None = None,
    shards: str | Path | None = None,
    detector: str = "yunet",
    table: str | Path | None = None,
    val_share: float = 0.1,
    workers: int = 1,
    resume: bool = False,
    progress: bool = False,
    on_outcome: Callable[[Outcome, int], None] | None = None,
) -> LipsResult:
    """Train a network that makes lips for a sound, on videos whose sound is in time.

    The folder then holds `lips.json` and `lips.safetensors` (the best weights on the tracks held out, the last ones
    without any), `checkpoints/`, `lips.yaml`, `metrics.jsonl`, `logs/`, `pictures/`, `sounds/` and, unless given,
    `shards/`.

    Args:
        videos: folders or files.
        output: the folder.
        config: the settings.
        start: the encoder to start from.
        sync: output of `marlin-sdk sync train`; None trains without its loss.
        shards: of these videos, by `marlin-sdk prepare` at 25 frames a second; None prepares them into the folder.
        detector: as in `Marlin.from_pretrained`, to prepare with.
        table: CSV with identities and splits; see `prepare`.
        val_share: share of identities that are held out, where no table says.
        workers: processes that prepare videos.
        resume: continue from the last checkpoint of the folder.
        progress: show a progress bar on stderr.
        on_outcome: see `prepare`.
    Raises:
        ConfigError: invalid settings; no video with sound; a folder that already holds a run, or is in use.
        NoFaceError: no video shows a face.
        TrainingError: a loss is not finite (the batch is saved), a checkpoint cannot be written, too few tracks.
        WeightsError: the checkpoint, or the synchronisation model, is damaged or of another size.
        MarlinError: the encoder or the detector cannot be loaded.
    """
    config, start, output = config or LipsTrainConfig(), start or Start(), Path(output)
    encoder, identity = start.load(config.seed)
    judge, judge_id = None, ""
    if sync is not None:
        judge, facts = load_sync(sync)
        judge_id = facts.weights_sha256
        _check_judge(judge, encoder)
    files = run_folder(output)
    settings = {**config.to_dict(), "start": identity, "sync": judge_id}
    files.check(settings, resume=resume, init=None)
    networks = build_networks(config, encoder)
    sources = plan_sources(find_sources([Path(one) for one in videos]), table=None if table is None else Path(table))
    fabric = launch(config)
    sounds, failure = SoundFolder(output / "sounds"), None
    if fabric.is_global_zero:
        try:
            if shards is None:
                prepared = _prepare_config(config, encoder, detector, val_share)
                prepare(list(videos), output / "shards", prepared, workers=workers, table=table, on_outcome=on_outcome)
            sounds.fill(sources)
        except MarlinError as error:
            failure = error
    failure = fabric.broadcast(failure)
    if failure is not None:
        raise failure
    shards = output / "shards" if shards is None else Path(shards)
    known = {sample.source for shard in DataFolder(shards).shards() for sample in shard.samples}
    outcomes = {key: outcome for key, outcome in sounds.outcomes().items() if key in known}
    train, val, about = open_lips(shards, sounds, outcomes, encoder.config, config)
    notes = [note for note in (describe_left_out(outcomes),) if note]
    if missing := known - outcomes.keys():
        notes.append(f"{len(missing)} videos of the shards are not among VIDEOS, and left out ({min(missing)}, ...)")
    if judge is None:
        notes.append("without --sync, nothing teaches the network to be in time but the pixels")
    with files.lock(fabric):
        learner = Learner(config, *networks, judge, fabric)
        training = _Training(learner, files, fabric, settings, about, total_steps(config, train.num_clips))
        return training.run(train, val, resume=resume, progress=progress, notes=notes)


def _check_judge(judge: SyncNetwork, encoder: Encoder) -> None:
    theirs, ours = judge.config.model, encoder.config
    if (theirs.n_frames, theirs.tubelet_size) != (ours.n_frames, ours.tubelet_size):
        raise ConfigError(
            f"the synchronisation model judges windows of {theirs.n_frames} frames, {theirs.tubelet_size} a token; the "
            f"encoder takes {ours.n_frames}, {ours.tubelet_size} a token: train both on encoders of one kind"
        )


def _prepare_config(config: LipsTrainConfig, encoder: Encoder, detector: str, val_share: float) -> PrepareConfig:
    return PrepareConfig(
        size_px=config.size_px, patch_px=config.size_px, detector=detector, parser="none", fps=FPS,
        min_frames=config.windows * encoder.config.n_frames, min_face_px=min(_MIN_FACE_PX, config.size_px),
        val_share=val_share,
    )  # fmt: skip


class _Training:
    """The task of `run_steps`, in one process."""

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
