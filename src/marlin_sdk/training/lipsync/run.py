"""A run of training to make lips: faces and sounds of videos, steps, validation, export."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from marlin_sdk.errors import ConfigError, MarlinError
from marlin_sdk.sync.files import load_sync
from marlin_sdk.sync.network import FPS, SyncNetwork
from marlin_sdk.training.lipsync.config import TASK, LipsTrainConfig
from marlin_sdk.training.lipsync.data import open_lips
from marlin_sdk.training.lipsync.learner import Learner, build_networks
from marlin_sdk.training.lipsync.task import LipsResult, LipsTraining
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.folder import DataFolder, Outcome
from marlin_sdk.training.prepare.run import prepare
from marlin_sdk.training.prepare.sources import find_sources, plan_sources
from marlin_sdk.training.run_folder import RunFolder
from marlin_sdk.training.schedule import total_steps
from marlin_sdk.training.start import Start
from marlin_sdk.training.strategy import launch
from marlin_sdk.training.sync.sounds import SoundFolder, describe_left_out

if TYPE_CHECKING:
    from marlin_sdk.model import Encoder

__all__ = ["run_folder", "train_lips"]

logger = logging.getLogger("marlin_sdk")

_MAY_CHANGE = frozenset(
    {"max_steps", "epochs", "num_workers", "log_every", "save_every", "val_every", "val_clips", "accelerator"}
    | {"base_lr", "base_min_lr", "clip_norm"}  # remedies for a loss that is not finite
)
_MIN_FACE_PX = 48


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
        training = LipsTraining(learner, files, fabric, settings, about, total_steps(config, train.num_clips))
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
