"""What a probe must beat: a constant, shuffled labels, and what the file alone gives away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.evaluation.probe.heads import Training, fit_head

__all__ = ["ARMS", "Arm", "Predictor", "filled", "fit_arm"]

Arm = Literal["features", "against", "metadata", "shuffled", "majority"]
"""Where a prediction comes from: the features; those of another dump; facts of the file, such as its duration; the
features with the training labels shuffled; or the training part's most frequent class (its mean number)."""

ARMS: tuple[Arm, ...] = get_args(Arm)
_SHUFFLES = 100


class Predictor(Protocol):
    """What a cell predicts with: a head, or a constant."""

    def scores(self, features: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Head`."""


class _Constant:
    """Predicts the frequencies of the training part, or its mean."""

    def __init__(self, training: Training) -> None:
        self.classes = training.classes
        counts = np.bincount(training.values, minlength=len(self.classes)) if self.classes else None
        self._row = np.array([training.values.mean()]) if counts is None else counts / counts.sum()

    def scores(self, features: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.tile(self._row, (len(ends) or len(features), 1))


def fit_arm(arm: Arm, head: str, training: Training) -> Predictor:
    """Fit what predicts in an arm.

    Args:
        arm: see `Arm`; for "against" and "metadata" the features are those already.
        head: the head of the probe.
        training: what it learns from.
    """
    if arm == "majority":
        return _Constant(training)
    if arm == "metadata":
        return fit_head("logistic" if training.classes else "ridge", training)
    if arm == "shuffled":
        return fit_head(head, _shuffled(training))  # type: ignore[arg-type]
    return fit_head(head, training)  # type: ignore[arg-type]


def _shuffled(training: Training) -> Training:
    """With the labels in another order, of which the inner folds still have every class, if one of a hundred has."""
    random = np.random.default_rng(training.seed)
    for _ in range(_SHUFFLES):
        values = random.permutation(training.values)
        inner = [pair for pair in training.inner if not training.classes or all(map(_has_all(values), pair))]
        if inner:
            break
    return replace(training, values=values, inner=inner)


def _has_all(values: NDArray[Any]) -> Callable[[NDArray[np.int64]], bool]:
    classes = len(set(values.tolist()))
    return lambda rows: len(set(values[rows].tolist())) == classes


def filled(metadata: NDArray[np.float32], train: NDArray[np.int64]) -> NDArray[np.float32]:
    """Metadata as features: what is unknown is the training part's median, and has a column that says so."""
    known = np.isfinite(metadata)
    medians = np.array(
        [np.median(column[ok]) if (ok := np.isfinite(column)).any() else 0.0 for column in metadata[train].T]
    )
    logs = np.log1p(np.where(known, metadata, medians))  # sizes and durations range over orders of magnitude
    return np.concatenate([logs, ~known], axis=1).astype(np.float32)
