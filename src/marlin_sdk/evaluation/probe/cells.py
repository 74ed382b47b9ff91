"""Cells of a probe: what is fitted and predicted in one go, kept so that it is not computed twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.predictions import Predictions, concatenate
from marlin_sdk.evaluation.probe.baselines import ARMS, Arm, Predictor, filled, fit_arm
from marlin_sdk.evaluation.probe.heads import Training
from marlin_sdk.evaluation.probe.protocol import fit_marlin
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.probe.splits import Fold, inner_folds, low_data_subset
from marlin_sdk.evaluation.probe.targets import Target

__all__ = ["Cell", "fit_cell", "fit_heads", "plan_cells"]

_BASELINES: tuple[Arm, ...] = ("metadata", "shuffled", "majority")
_INNER = 3  # folds to choose settings with


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


def fit_heads(
    arm: Arm,
    head: str,
    samples: Samples,
    targets: Sequence[Target],
    train: NDArray[np.int64],
    *,
    validation: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Sequence[Predictor]:
    """Fit what predicts in an arm: the labels one by one, or by MARLIN's protocol all at once.

    Args:
        arm: see `Arm`.
        head: of the probe.
        samples: the videos, with the features of the arm.
        targets: labels that all rows below have.
        train: rows to learn from.
        validation: rows that the protocol chooses the epoch on; the others choose within `train`.
        seed: of whatever is drawn.
    """
    if head == "marlin" and arm in ("features", "against", "shuffled"):
        return fit_marlin(samples, targets, train, validation, seed=seed, shuffled=arm == "shuffled")
    some = samples.select(train)
    return [
        fit_arm(
            arm,
            head,
            Training(
                features=some.features,
                ends=some.ends,
                values=target.values[train],
                classes=target.classes,
                inner=inner_folds(samples, target, train, folds=_INNER, seed=seed),
                seed=seed,
            ),
        )
        for target in targets
    ]


def fit_cell(cell: Cell, samples: Samples, targets: Sequence[Target], fold: Fold, head: str) -> Predictions | str:
    """Fit labels of a cell, and predict what is held out.

    Args:
        cell: which.
        samples: the videos.
        targets: labels that all videos of the fold have; the share of its groups is drawn by the first.
        fold: of the cell.
        head: of the probe.
    Returns:
        The predictions, or why there are none: a share so small that a class has no example.
    """
    try:
        train = low_data_subset(samples, targets[0], fold.train, ratio=cell.ratio, seed=cell.seed)
    except ConfigError as error:
        return str(error)
    if cell.arm == "metadata":
        samples = replace(samples, features=filled(samples.metadata, train), ends=np.empty(0, np.int64))
    fitted = fit_heads(cell.arm, head, samples, targets, train, validation=fold.held_out.get("val"), seed=cell.seed)
    return concatenate(
        [part for one in zip(targets, fitted, strict=True) for part in _predict(cell, samples, fold, *one)]
    )


def _predict(cell: Cell, samples: Samples, fold: Fold, target: Target, fitted: Predictor) -> Iterator[Predictions]:
    for part, rows in fold.held_out.items():
        some = samples.select(rows)
        scores = fitted.scores(some.features, some.ends)
        yield Predictions.of(
            id=some.ids,
            window=some.windows,
            group=some.groups,
            split=part,
            fold=cell.fold,
            seed=cell.seed,
            ratio=cell.ratio,
            label=target.name,
            y_true=target.texts(rows),
            scores=target.named(scores),
        )
