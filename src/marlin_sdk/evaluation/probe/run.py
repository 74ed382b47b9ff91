"""Run a probe: from a dump to predictions, numbers and a head, in one folder that can be resumed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from marlin_sdk._version import __version__
from marlin_sdk.atomic import atomic_path
from marlin_sdk.dump.lock import Shard, lock_folder
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError, FeatureFileError, MissingExtraError
from marlin_sdk.evaluation.predictions import Predictions, concatenate, read_predictions, write_predictions
from marlin_sdk.evaluation.probe.baselines import ARMS
from marlin_sdk.evaluation.probe.cells import Cell, fit_cell, fit_heads, plan_cells
from marlin_sdk.evaluation.probe.facts import facts_of, unlabelled
from marlin_sdk.evaluation.probe.head_file import HEAD_FILE, FittedHeads, save_heads
from marlin_sdk.evaluation.probe.heads import Head, HeadName
from marlin_sdk.evaluation.probe.protocol import UNSOUND, check_marlin
from marlin_sdk.evaluation.probe.samples import Pooling, Samples, read_samples, same_videos
from marlin_sdk.evaluation.probe.splits import Fold, make_folds
from marlin_sdk.evaluation.probe.targets import Kind, Target, choose_targets

__all__ = ["Probe", "ProbeSettings", "predictions_file", "run_probe"]

_SETTINGS = "probe.json"
_RESULTS = ("results.json", HEAD_FILE, "head.safetensors", "README.md", "report.html")
_MUCH = 10**8  # numbers to fit to, over all fits: a minute or so

_Result = TypeVar("_Result")
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """What to probe, and how.

    Attributes:
        label: a label column, or a pattern of several ('appearance.*').
        kind: "classification" or "regression"; None decides by the label's type.
        classes: the classes to tell apart; other videos are left out. Empty for all.
        head: "logistic", "ridge", "knn", "attentive", or "marlin" (the published protocol); None is logistic for
            classes, ridge for numbers, and attentive for sequences.
        pooling: of a video's windows, see `Pooling`; None is "sequence" for the attentive head, else "mean".
        folds: number of folds, stratified and by group; None takes the table's `split`.
        leave_one_group_out: a fold a group.
        ratios: shares of the training groups.
        seeds: draws of each share.
        seed: of the folds.
    """

    label: str
    kind: Kind | None = None
    classes: tuple[str, ...] = ()
    head: HeadName | None = None
    pooling: Pooling | None = None
    folds: int | None = None
    leave_one_group_out: bool = False
    ratios: tuple[float, ...] = (1.0,)
    seeds: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.folds is not None and self.leave_one_group_out:
            raise ConfigError("folds and leave_one_group_out exclude each other")
        if not self.ratios or not all(0 < ratio <= 1 for ratio in self.ratios):
            raise ConfigError(f"ratios are {self.ratios}; expected numbers of more than 0, up to 1")
        if len(set(self.ratios)) < len(self.ratios):
            raise ConfigError(f"ratios are {self.ratios}; expected each once")
        if not 1 <= self.seeds <= 1000:
            raise ConfigError(f"seeds is {self.seeds}; expected 1 to 1000")
        if self.seed < 0:
            raise ConfigError(f"seed is {self.seed}; expected 0 or more")

    @property
    def pooled(self) -> Pooling:
        """The pooling, decided."""
        return self.pooling or ("sequence" if self.head == "attentive" else "mean")

    def head_for(self, target: Target) -> HeadName:
        """The head, decided."""
        if self.head is not None:
            return self.head
        return "attentive" if self.pooled == "sequence" else "logistic" if target.classes else "ridge"


@dataclass(frozen=True, eq=False)
class Probe:
    """A finished probe.

    Attributes:
        folder: where its files are.
        settings: its settings.
        predictions: by arm, see `Arm`.
        facts: of the data: numbers of videos and groups, classes, hashes; plain JSON.
        notes: what was left out or could not be done as asked, in words.
    """

    folder: Path
    settings: ProbeSettings
    predictions: dict[str, Predictions]
    facts: dict[str, Any]
    notes: tuple[str, ...]


def predictions_file(folder: Path, arm: str) -> Path:
    """The predictions of an arm in the folder of a probe."""
    return folder / ("predictions.parquet" if arm == "features" else f"predictions-{arm}.parquet")


def run_probe(
    dump: FeatureDump,
    output: Path,
    settings: ProbeSettings,
    *,
    against: FeatureDump | None = None,
    overwrite: bool = False,
    jobs: int | None = None,
    advance: Advance = lambda *_: None,
) -> Probe:
    """Probe the features of a dump.

    Nothing is chosen on what is held out. A cell (one fold, ratio and seed) that an earlier run with the same settings
    has finished is not computed again.

    Args:
        dump: extracted with a table that has the label, `group`, and `split` unless folds are asked for.
        output: folder for `predictions.parquet`, those of the baselines, and the head.
        settings: see `ProbeSettings`.
        against: another dump of the same videos, such as of an untrained encoder, probed in the same way.
        overwrite: discard what an earlier run with other settings has left.
        jobs: processes; None takes all cores where there is much to fit, and one where starting them would take longer.
        advance: called with what is being done, the number done, and of all.
    Raises:
        ConfigError: settings or labels that cannot be used, see `choose_targets` and `make_folds`; a folder in use, or
            that holds another probe.
        FeatureFileError: a dump that cannot be read, or lacks videos; a folder that cannot be written.
        MissingExtraError: scikit-learn or pyarrow is not installed.
    """
    samples = read_samples(dump, pooling=settings.pooled, progress=lambda *n: advance("reading features", *n))
    targets, left_out = choose_targets(samples, settings.label, kind=settings.kind, classes=settings.classes)
    head = settings.head_for(targets[0])
    together = [_jointly(targets)] if head == "marlin" else [(target,) for target in targets]
    folds = [_folds(samples, group[0], settings) for group in together]
    other = None
    if against is not None:
        read = read_samples(against, pooling=settings.pooled, progress=lambda *n: advance("reading the other", *n))
        other = same_videos(samples, read)
    facts = facts_of(dump, samples, targets, against, other)
    try:
        output.mkdir(parents=True, exist_ok=True)
        with lock_folder(output, Shard(1, 1)):
            _claim(
                output,
                {"settings": asdict(settings), "data": {**facts["hashes"], "version": __version__}},
                overwrite=overwrite,
            )
            cells = plan_cells(
                folds=len(folds[0]), ratios=settings.ratios, seeds=settings.seeds, head=head, against=other is not None
            )
            work = _Work(output, samples, other, together, folds, head)
            unsound = UNSOUND if head == "marlin" else ()
            work.run(cells, jobs, advance)
            found, missing = _gather(output, cells, targets)
            notes = [*unsound, *samples.notes, *left_out, *unlabelled(targets, samples, settings.classes), *missing]
            if not (output / HEAD_FILE).exists():
                save_heads(output, work.final(settings.pooled, jobs, advance))
    except OSError as error:
        if isinstance(error, FeatureFileError):
            raise
        raise FeatureFileError(f"cannot write to {output}: {error.strerror or error}") from error
    return Probe(output, settings, found, {**facts, "head": head, "pooling": settings.pooled}, tuple(notes))


def _jointly(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The targets, each without the videos that lack the label of another."""
    check_marlin(targets)
    complete = np.all([target.labelled for target in targets], axis=0)
    return tuple(replace(target, values=np.where(complete, target.values, -1)) for target in targets)


def _folds(samples: Samples, target: Target, settings: ProbeSettings) -> list[Fold]:
    return make_folds(
        samples,
        target,
        folds=settings.folds,
        leave_one_group_out=settings.leave_one_group_out,
        seed=settings.seed,
    )


@dataclass(frozen=True, eq=False)
class _Work:
    """The cells of a probe and what they need.

    Attributes:
        output: folder of the probe.
        samples: the videos.
        other: those of the other dump.
        together: the labels, in groups that one fit learns.
        folds: of each group.
        head: the head.
    """

    output: Path
    samples: Samples
    other: Samples | None
    together: Sequence[Sequence[Target]]
    folds: Sequence[Sequence[Fold]]
    head: HeadName

    def run(self, cells: Sequence[Cell], jobs: int | None, advance: Advance) -> None:
        """Compute the cells that are not there. A label that cannot be fitted in one is missing from it."""
        todo = [cell for cell in cells if not cell.path(self.output).exists()]
        total = len(cells) * len(self.together)
        done = total - len(todo) * len(self.together)
        results = self._results(todo, jobs)
        for cell in todo:
            parts: list[Predictions] = []
            for _ in self.together:
                result = next(results)
                done += 1
                advance("fitting", done, total)
                if not isinstance(result, str):
                    parts.append(result)
                elif len(self.together) == 1:
                    raise ConfigError(result)
            if parts:
                path = cell.path(self.output)
                path.parent.mkdir(exist_ok=True)
                write_predictions(path, concatenate(parts))

    def final(self, pooling: Pooling, jobs: int | None, advance: Advance) -> FittedHeads:
        """The heads to use: fitted on the training part; on all videos where there are folds."""
        calls = []
        for targets, folds in zip(self.together, self.folds, strict=True):
            only = folds[0] if len(folds) == 1 else None
            rows = np.flatnonzero(targets[0].labelled) if only is None else only.train
            validation = None if only is None else only.held_out.get("val")
            bare = replace(self.samples, labels=())
            calls.append(partial(fit_heads, "features", self.head, bare, targets, rows, validation=validation))
        heads: dict[str, Head] = {}
        for targets, fitted in zip(self.together, self._computed(calls, jobs), strict=True):
            heads |= {target.name: cast("Head", one) for target, one in zip(targets, fitted, strict=True)}
            advance("fitting the heads to use", len(heads), sum(map(len, self.together)))
        width = self.samples.features.shape[1] // (2 if pooling == "mean+std" else 1)
        identity = self.samples.settings.get("identity")
        return FittedHeads(
            heads, self.head, pooling, width, self.samples.weights, identity if isinstance(identity, dict) else {}
        )

    def _results(self, cells: Sequence[Cell], jobs: int | None) -> Iterator[Predictions | str]:
        """For each cell, and in it for each group of labels, in order."""
        bare = replace(self.samples, labels=())  # not sent to other processes
        bare_other = replace(self.other, labels=()) if self.other is not None else bare
        calls = [
            partial(fit_cell, cell, bare_other if cell.arm == "against" else bare, targets, folds[cell.fold], self.head)
            for cell in cells
            for targets, folds in zip(self.together, self.folds, strict=True)
        ]
        yield from self._computed(calls, jobs)

    def _computed(self, calls: Sequence[Callable[[], _Result]], jobs: int | None) -> Iterator[_Result]:
        if jobs is None:
            much = len(calls) * self.samples.features.size > _MUCH
            jobs = os.cpu_count() or 1 if much else 1
        if jobs == 1:
            yield from (call() for call in calls)
            return
        try:
            from joblib import Parallel, delayed
        except ImportError as error:
            raise MissingExtraError("a probe", "probe") from error
        yield from Parallel(n_jobs=jobs, return_as="generator")(delayed(call)() for call in calls)


def _claim(output: Path, values: dict[str, Any], *, overwrite: bool) -> None:
    """Make the folder this probe's, or refuse one that is another's."""
    path = output / _SETTINGS
    wanted = json.loads(json.dumps(values))
    if path.exists() and not overwrite:
        try:
            there = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise FeatureFileError(f"{path} cannot be read: {error}; choose another folder, or --overwrite") from error
        if there == wanted:
            return
        differ = sorted(
            f"{name}: {there.get(part, {}).get(name)!r} there, {value!r} requested"
            for part in ("settings", "data")
            for name, value in wanted[part].items()
            if there.get(part, {}).get(name) != value
        )
        raise ConfigError(
            f"{output} holds another probe:\n  " + "\n  ".join(differ) + "\nchoose another folder, or --overwrite"
        )
    ours = {_SETTINGS, "cells", ".locks", *_RESULTS, *(predictions_file(output, arm).name for arm in ARMS)}
    if foreign := sorted({one.name for one in output.iterdir()} - (ours if path.exists() else {".locks"})):
        raise ConfigError(f"{output} holds {foreign[0]!r}, which is not of a probe; choose a folder of its own")
    shutil.rmtree(output / "cells", ignore_errors=True)
    for stale in (HEAD_FILE, *(predictions_file(output, arm).name for arm in ARMS)):
        (output / stale).unlink(missing_ok=True)
    with atomic_path(path) as part:
        part.write_text(json.dumps(wanted, indent=1), encoding="utf-8")


def _gather(output: Path, cells: Sequence[Cell], targets: Sequence[Target]) -> tuple[dict[str, Predictions], list[str]]:
    """The predictions of all cells, by arm, written as one file each; and which labels are missing where.

    A label that could not be fitted in one fold is left out of all folds of that share and seed: it would be tested on
    other videos than the rest.
    """
    found: dict[str, Predictions] = {}
    notes = []
    for arm in dict.fromkeys(cell.arm for cell in cells):
        parts = []
        for ratio, seed in dict.fromkeys((cell.ratio, cell.seed) for cell in cells if cell.arm == arm):
            folds = [cell.path(output) for cell in cells if (cell.arm, cell.ratio, cell.seed) == (arm, ratio, seed)]
            read = [read_predictions(path) for path in folds if path.exists()]
            held = [{part.label.names[code] for code in part.label.used()} for part in read]
            names = set.intersection(*held) if len(read) == len(folds) else set()
            lacking = [target.name for target in targets if target.name not in names]
            if not names:
                raise ConfigError(f"no label could be fitted for {arm} at ratio {ratio:g}; use a larger ratio")
            if lacking:
                notes.append(
                    f"left out of {arm} at ratio {ratio:g}, seed {seed}: {', '.join(lacking)}, of which a class has no "
                    "example in so small a share"
                )
            parts += [part.take(part.label.recode(sorted(names)) >= 0) for part in read]
        found[arm] = concatenate(parts)
        write_predictions(predictions_file(output, arm), found[arm])
    return found, notes
