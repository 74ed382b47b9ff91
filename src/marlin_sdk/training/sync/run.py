"""A run of training for synchronisation: faces and sounds of videos, steps, validation, export."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from marlin_sdk.errors import MarlinError
from marlin_sdk.model import Encoder
from marlin_sdk.sync.network import FPS
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.folder import DataFolder, Outcome
from marlin_sdk.training.prepare.run import prepare
from marlin_sdk.training.prepare.sources import find_sources, plan_sources
from marlin_sdk.training.run_folder import RunFolder
from marlin_sdk.training.schedule import total_steps
from marlin_sdk.training.start import Start
from marlin_sdk.training.strategy import launch
from marlin_sdk.training.sync.config import TASK, SyncTrainConfig
from marlin_sdk.training.sync.data import open_tracks
from marlin_sdk.training.sync.sounds import SoundFolder, describe_left_out
from marlin_sdk.training.sync.task import SyncResult, SyncTraining

__all__ = ["run_folder", "train_sync"]

_MAY_CHANGE = frozenset(
    {"max_steps", "epochs", "num_workers", "log_every", "save_every", "val_every", "val_clips", "accelerator"}
    | {"base_lr", "base_min_lr", "clip_norm"}  # remedies for a loss that is not finite
)
_MIN_FACE_PX = 48


def run_folder(path: str | Path) -> RunFolder:
    """The folder of a run."""
    return RunFolder(Path(path), task=TASK, settings_name="sync.yaml", may_change=_MAY_CHANGE, added={})


def train_sync(
    videos: Sequence[str | Path],
    output: str | Path,
    config: SyncTrainConfig | None = None,
    *,
    start: Start | None = None,
    shards: str | Path | None = None,
    detector: str = "yunet",
    table: str | Path | None = None,
    val_share: float = 0.1,
    workers: int = 1,
    resume: bool = False,
    progress: bool = False,
    on_outcome: Callable[[Outcome, int], None] | None = None,
) -> SyncResult:
    """Train a network that hears whether sound and mouth are in time. Videos need no labels, but to be in time.

    The folder then holds `sync.json` and `sync.safetensors` (the best weights on the tracks held out, the last ones
    without any), `checkpoints/`, `sync.yaml`, `metrics.jsonl`, `logs/`, `sounds/` and, unless given, `shards/`.

    Args:
        videos: folders or files.
        output: the folder.
        config: the settings.
        start: the encoder to start from.
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
        MarlinError: the encoder or the detector cannot be loaded.
    """
    config, start, output = config or SyncTrainConfig(), start or Start("marlin_vit_small_ytf"), Path(output)
    encoder, identity = start.load(config.seed)
    files = run_folder(output)
    settings = {**config.to_dict(), "start": identity}
    files.check(settings, resume=resume, init=None)
    sources = plan_sources(find_sources([Path(one) for one in videos]), table=None if table is None else Path(table))
    fabric = launch(config)
    sounds, failure = SoundFolder(output / "sounds"), None
    if fabric.is_global_zero:
        try:
            if shards is None:
                _prepare(videos, output / "shards", encoder, detector, table, val_share, workers, on_outcome)
            sounds.fill(sources)
        except MarlinError as error:
            failure = error
    failure = fabric.broadcast(failure)
    if failure is not None:
        raise failure
    shards = output / "shards" if shards is None else Path(shards)
    known = {sample.source for shard in DataFolder(shards).shards() for sample in shard.samples}
    outcomes = {key: outcome for key, outcome in sounds.outcomes().items() if key in known}
    train, val, about = open_tracks(shards, sounds, outcomes, encoder.config, config)
    notes = [note for note in (describe_left_out(outcomes),) if note]
    if missing := known - outcomes.keys():
        notes.append(f"{len(missing)} videos of the shards are not among VIDEOS, and left out ({min(missing)}, ...)")
    with files.lock(fabric):
        training = SyncTraining(config, files, fabric, settings, about, total_steps(config, train.num_clips))
        return training.run(encoder, train, val, resume=resume, progress=progress, notes=notes)


def _prepare(
    videos: Sequence[str | Path], folder: Path, encoder: Encoder, detector: str, table: str | Path | None,
    val_share: float, workers: int, on_outcome: Callable[[Outcome, int], None] | None,
) -> None:  # fmt: skip
    model = encoder.config
    settings = PrepareConfig(
        size_px=model.img_size, patch_px=model.patch_size, detector=detector, parser="none", fps=FPS,
        min_frames=model.n_frames,
        min_face_px=min(_MIN_FACE_PX, model.img_size), val_share=val_share,
    )  # fmt: skip
    prepare(list(videos), folder, settings, workers=workers, table=table, on_outcome=on_outcome)
