"""A run of fine-tuning: a linear probe, then steps with blocks opening, validation after each epoch, and a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlin_sdk.errors import ConfigError, MarlinError
from marlin_sdk.evaluation.probe.outcome import Outcome as Numbers
from marlin_sdk.evaluation.probe.protocol import check_marlin
from marlin_sdk.evaluation.probe.targets import choose_targets
from marlin_sdk.inputs.tables import read_table
from marlin_sdk.model import Encoder
from marlin_sdk.training.finetune.augment import names_a_side
from marlin_sdk.training.finetune.config import TASK, FinetuneConfig
from marlin_sdk.training.finetune.data.division import Division, divide
from marlin_sdk.training.finetune.data.placing import WindowRule
from marlin_sdk.training.finetune.data.preparing import prepare_rows, settings_for
from marlin_sdk.training.finetune.data.table import LabelledTable, open_table
from marlin_sdk.training.finetune.protocol import UNSOUND
from marlin_sdk.training.finetune.publish import publish
from marlin_sdk.training.finetune.task import FineTuning, Result
from marlin_sdk.training.prepare.folder import Outcome
from marlin_sdk.training.run_folder import RunFolder
from marlin_sdk.training.start import Start
from marlin_sdk.training.strategy import is_first_process, launch

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["fine_tune", "finetune", "run_folder"]

_MAY_CHANGE = frozenset(
    {"num_workers", "log_every", "save_every", "test_batch", "checkpoint_blocks", "accelerator", "max_broken"}
    | {"base_lr", "clip_norm"}  # remedies for a loss that is not finite
)


def run_folder(path: str | Path) -> RunFolder:
    """The folder of a run."""
    return RunFolder(
        Path(path), task=TASK, settings_name="finetune.yaml", may_change=_MAY_CHANGE, added={"pool": "mean"}
    )


def finetune(
    config: FinetuneConfig,
    output: str | Path,
    *,
    table: str | Path,
    start: Start | None = None,
    shards: str | Path | None = None,
    detector: str = "yunet",
    ratios: Sequence[float] = (1.0,),
    resume: bool = False,
    workers: int = 1,
    name: str | None = None,
    licence: str | None = None,
    progress: bool = False,
    on_outcome: Callable[[Outcome, int], None] | None = None,
) -> tuple[Numbers | None, LabelledTable]:
    """Fine-tune an encoder on the labelled clips of a table, and write the model, its head, predictions and a card.

    Args:
        config: the settings.
        output: folder for all of it; see `publish`.
        table: as `marlin-extract --table` takes it: path, id, start_s, end_s, labels, split, group.
        start: the weights to start from.
        shards: written by `marlin-sdk prepare` from the videos of the table; None prepares them into the folder.
        detector: as in `Marlin.from_pretrained`, to prepare with.
        ratios: shares of the training groups to learn from, a run each.
        resume: continue from the last checkpoints.
        workers: processes that prepare videos.
        name: of the model, for its card.
        licence: of the model, for its card.
        progress: show a progress bar on stderr.
        on_outcome: see `prepare_rows`.
    Returns:
        The numbers, None on other processes than the first; and the clips.
    Raises:
        MarlinError: as `fine_tune`, `prepare_rows` and `publish`.
    """
    output, start = Path(output), start or Start()
    if not resume:
        run_folder(output).check({}, resume=False, init=None)  # before any work
    rows = read_table(Path(table))
    encoder, identity = start.load(config.seed)
    rule = WindowRule(encoder.config.n_frames, config.sample_rate, config.stride)
    fabric = launch(config, parts_rest=config.opening > 0)
    notes: list[str] = []
    if shards is None:
        shards, failure = output / "shards", None
        if fabric.is_global_zero:
            try:
                settings = settings_for(encoder.config, rule, detector=detector)
                notes = prepare_rows(
                    rows, shards, settings, workers=workers, max_broken=config.max_broken, on_outcome=on_outcome
                )
            except MarlinError as error:
                failure = error
        failure, notes = fabric.broadcast((failure, notes))
        if failure is not None:
            raise failure
    opened = open_table(rows, shards, plan=rule, jitter_s=config.jitter_s, model=encoder.config)
    opened = replace(opened, samples=replace(opened.samples, notes=(*notes, *opened.samples.notes)))
    results: dict[float, Result] = {}
    for ratio in sorted(ratios):
        folder = output if ratio == max(ratios) else output / f"ratio-{ratio:g}"
        again = resume and run_folder(folder).last.is_file() if len(ratios) > 1 else resume
        results[ratio] = fine_tune(
            config, folder, table=opened, encoder=start.load(config.seed)[0], start=identity, fabric=fabric,
            ratio=ratio, resume=again, progress=progress,
        )  # fmt: skip
    if not is_first_process():
        return None, opened
    outcome = publish(
        output, config, opened, results, detector=opened.prepared.detector, start=identity, name=name, licence=licence
    )
    return outcome, opened


def fine_tune(
    config: FinetuneConfig,
    output: str | Path,
    *,
    table: LabelledTable,
    encoder: Encoder,
    start: Mapping[str, Any],
    fabric: Fabric,
    ratio: float = 1.0,
    resume: bool = False,
    progress: bool = False,
) -> Result:
    """Fine-tune an encoder and a head on labelled clips.

    Args:
        config: the settings.
        output: folder for checkpoints, logs and `finetune.yaml`.
        table: the clips.
        encoder: with the weights to start from; it is trained in place.
        start: identity of these weights, as plain values.
        fabric: launched.
        ratio: share of the training groups to learn from.
        resume: continue from the last checkpoint of the folder.
        progress: show a progress bar on stderr.
    Raises:
        ConfigError: settings or labels that cannot be used; a folder that already holds a run, or is in use.
        TrainingError: a loss is not finite (the batch is saved), a checkpoint cannot be written, too many clips are
            damaged.
        WeightsError: the checkpoint does not fit.
        MissingExtraError: the extra [train] is not installed.
    """
    folder = run_folder(output)
    targets, left_out = choose_targets(table.samples, config.label, kind=config.kind)
    division = divide(table.samples, targets, seed=config.seed, ratio=ratio)
    notes = [*table.samples.notes, *left_out, *division.notes]
    if config.protocol == "marlin":
        check_marlin(targets)
        notes += UNSOUND
    sided = [name for target in targets for name in (target.name, *target.classes) if names_a_side(name)]
    if config.flip and sided:
        config = config.but(flip=False)
        notes.append(f"clips are not mirrored: {sided[0]!r} names a side")
    world = config.devices * config.num_nodes
    if (most := len(division.train) // world) < config.batch_size:
        if not most:
            raise ConfigError(f"{len(division.train)} training clips are too few for {world} processes")
        config = config.but(batch_size=most)
        notes.append(f"batches have {most} clips on each device: there are only {len(division.train)}")
    settings = {**config.to_dict(), "start": dict(start), "ratio": ratio, "clips": _digest(table, division)}
    folder.check(settings, resume=resume, init=None)
    with folder.lock(fabric):
        run = FineTuning(config, folder, fabric, table, targets, division, settings)
        return run.run(encoder, resume=resume, progress=progress, notes=notes)


def _digest(table: LabelledTable, division: Division) -> str:
    """Of the clips and what they are for: a run resumes with the same."""
    import hashlib

    parts = [[table.places[row].id for row in rows.tolist()] for rows in (division.train, division.val, division.test)]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
