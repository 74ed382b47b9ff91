"""Cells of a probe: what is fitted and predicted in one go, kept so that it is not computed twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.predictions import Predictions, concatenate
from marlin_sdk.evaluation.probe.baselines import ARMS, Arm, filled, fit_arm
from marlin_sdk.evaluation.probe.heads import Training
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.probe.splits import Fold, inner_folds, low_data_subset
from marlin_sdk.evaluation.probe.targets import Target

__all__ = ["Cell", "fit_cell", "plan_cells", "training_of"]

_BASELINES: tuple[Arm, ...] = ("metadata", "shuffled", "majority")


@dataclass(frozen=True)
class Cell:
    """One fit for each label.

    Attributes:
        arm: what it learns from, see `Arm`.
        fold: number of the fold.
        ratio: share of the training groups.
        seed: of the draw of that share, and of the head.
    """

    arm: Arm
    fold: int
    ratio: float
    seed: int

    def path(self, folder: Path) -> Path:
        """Its file in the output folder of a probe."""
        return folder / "cells" / f"{self.arm}-fold{self.fold}-ratio{self.ratio!r}-seed{self.seed}.parquet"


def plan_cells(*, folds: int, ratios: Sequence[float], seeds: int, head: str, against: bool) -> list[Cell]:
    """The cells of a probe.

    The features, and those of the other dump, are probed at every ratio with every seed; baselines at the largest ratio
    and once. At ratio 1 a seed changes nothing but the attentive head, so that the others are fitted once.
    """

    def seeds_of(ratio: float) -> range:
        return range(1 if ratio == 1 and head != "attentive" else seeds)

    arms: list[Arm] = ["features", *(["against"] if against else [])]  # type: ignore[list-item]
    probed = [
        Cell(arm, fold, ratio, seed)
        for arm in arms
        for fold in range(folds)
        for ratio in ratios
        for seed in seeds_of(ratio)
    ]
    simple = [Cell(arm, fold, max(ratios), 0) for arm in ARMS if arm in _BASELINES for fold in range(folds)]
    return probed + simple


def training_of(samples: Samples, target: Target, rows: NDArray[np.int64], *, seed: int, folds: int = 3) -> Training:
    """What a head learns from: these videos, with folds of their own to choose settings with."""
    some = samples.select(rows)
    inner = inner_folds(samples, target, rows, folds=folds, seed=seed)
    return Training(some.features, some.ends, target.values[rows], target.classes, inner, seed)


def fit_cell(cell: Cell, samples: Samples, target: Target, fold: Fold, head: str) -> Predictions | str:
    """Fit one label of a cell, and predict what is held out.

    Returns:
        The predictions, or why there are none: a share so small that a class has no example.
    """
    try:
        train = low_data_subset(samples, target, fold.train, ratio=cell.ratio, seed=cell.seed)
    except ConfigError as error:
        return str(error)
    if cell.arm == "metadata":
        samples = replace(samples, features=filled(samples.metadata, train), ends=np.empty(0, np.int64))
    fitted = fit_arm(cell.arm, head, training_of(samples, target, train, seed=cell.seed))
    return concatenate(list(_predict(cell, samples, target, fold, fitted)))


def _predict(cell: Cell, samples: Samples, target: Target, fold: Fold, fitted: Any) -> Iterator[Predictions]:
    for part, rows in fold.held_out.items():
        some = samples.select(rows)
        scores = fitted.scores(some.features, some.ends)
        if len(target.classes) == 2:  # one score says all
            named = {target.classes[1]: scores[:, 1]}
        else:
            named = {name: scores[:, index] for index, name in enumerate(target.classes or ("value",))}
        yield Predictions.of(
            id=some.ids,
            group=some.groups,
            split=part,
            fold=cell.fold,
            seed=cell.seed,
            ratio=cell.ratio,
            label=target.name,
            y_true=target.texts(rows),
            scores=named,
        )
