"""Heads on frozen features: fitted by scikit-learn, kept as plain arrays that predict on their own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, MissingExtraError

__all__ = ["Head", "HeadName", "LinearHead", "NeighbourHead", "Training", "fit_head"]

HeadName = Literal["logistic", "ridge", "knn", "attentive", "marlin"]

_PENALTIES = tuple(float(c) for c in np.logspace(-4, 1, 6))  # C, times the number of videos below
_RIDGE = np.logspace(-4, 2, 13)  # for features whose squares add up to about 1
_MAX_ITERATIONS = 2000
_CHOOSING = {"tol": 1e-3, "max_iter": 200}  # which penalty is best shows long before the last digit
_NEIGHBOURS, _TEMPERATURE = 20, 0.07  # DINOv2's
_BLOCK = 1024  # rows compared with all neighbours at once

Pairs = Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]]


@dataclass(frozen=True, eq=False)
class Training:
    """The videos to fit a head to.

    Attributes:
        features: float32 (N, F); or all windows (W, F) of sequences.
        ends: int64 (N,) for sequences, see `Samples`; else empty.
        values: (N,) int64 class indices; float64 for a regression.
        classes: names of the classes; empty for a regression.
        inner: folds of these videos by group, to choose settings with; may be empty.
        seed: of whatever the head draws.
    """

    features: NDArray[np.float32]
    ends: NDArray[np.int64]
    values: NDArray[Any]
    classes: tuple[str, ...]
    inner: Pairs
    seed: int = 0


class Head(Protocol):
    """A fitted head."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty for a regression."""

    def scores(self, features: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        """Scores (N, K), the probability of each class; for a regression (N, 1), the number."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` restores it from."""

    def settings(self) -> dict[str, Any]:
        """What was chosen in fitting, as plain JSON."""


@dataclass(frozen=True, eq=False)
class LinearHead:
    """Logistic or ridge regression on standardised features.

    Attributes:
        classes: names of the classes; empty for a regression.
        mean: float64 (F,), of the training part.
        scale: float64 (F,), its standard deviation.
        weight: float64 (K, F); one row for two classes, or for a number.
        bias: float64 (K,).
        penalty: C of the logistic regression, alpha of the ridge.
        notes: what could not be done as asked, in words.
    """

    classes: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    penalty: float
    notes: tuple[str, ...] = ()

    def scores(self, features: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Head`."""
        raw = ((features - self.mean) / self.scale) @ self.weight.T + self.bias
        if not self.classes:
            return np.asarray(raw)
        if len(self.classes) == 2:
            raw = np.concatenate([np.zeros_like(raw), raw], axis=1)
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Head`."""
        return {"mean": self.mean, "scale": self.scale, "weight": self.weight, "bias": self.bias}

    def settings(self) -> dict[str, Any]:
        """See `Head`."""
        return {"penalty": self.penalty, "notes": list(self.notes)}

    @classmethod
    def from_arrays(
        cls, classes: tuple[str, ...], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> LinearHead:
        """The inverse of `arrays` and `settings`."""
        mean, scale, weight, bias = (arrays[name] for name in ("mean", "scale", "weight", "bias"))
        return cls(classes, mean, scale, weight, bias, settings["penalty"], tuple(settings["notes"]))


@dataclass(frozen=True, eq=False)
class NeighbourHead:
    """The nearest training videos by cosine vote, weighted by exp(cosine / 0.07); of standardised features.

    Without standardising, every two faces have a cosine of nearly 1. k = 20 and the temperature are those of DINOv2
    (Oquab et al. 2023); fewer neighbours where there are fewer videos.

    Attributes:
        classes: names of the classes; empty for a regression.
        mean: float64 (F,).
        scale: float64 (F,).
        known: float32 (M, F), standardised, of length 1.
        values: (M,) their class indices, or numbers.
    """

    classes: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    known: NDArray[np.float32]
    values: NDArray[Any]

    def scores(self, features: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float64]:
        """See `Head`."""
        count = min(_NEIGHBOURS, len(self.known))
        votes = np.eye(len(self.classes))[self.values] if self.classes else self.values[:, None]
        found = []
        for begin in range(0, len(features), _BLOCK):
            cosines = _unit((features[begin : begin + _BLOCK] - self.mean) / self.scale) @ self.known.T
            nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
            near = np.take_along_axis(cosines, nearest, axis=1).astype(np.float64)
            weights = np.exp((near - near.max(axis=1, keepdims=True)) / _TEMPERATURE)
            weights /= weights.sum(axis=1, keepdims=True)
            found.append(np.einsum("nk,nkc->nc", weights, votes[nearest]))
        return np.concatenate(found) if found else np.empty((0, votes.shape[1]))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """See `Head`."""
        return {"mean": self.mean, "scale": self.scale, "known": self.known, "values": self.values}

    def settings(self) -> dict[str, Any]:
        """See `Head`."""
        return {"neighbours": min(_NEIGHBOURS, len(self.known)), "temperature": _TEMPERATURE}

    @classmethod
    def from_arrays(
        cls, classes: tuple[str, ...], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
    ) -> NeighbourHead:
        """The inverse of `arrays`."""
        return cls(classes, *(arrays[name] for name in ("mean", "scale", "known", "values")))


def fit_head(name: HeadName, training: Training) -> Head:
    """Fit a head.

    Args:
        name: "logistic" (classes) or "ridge" (numbers), whose penalty is chosen by cross-validation within the training
            part, by group; "knn"; or "attentive", for sequences. ("marlin" is of all labels at once: `fit_marlin`.)
        training: what it learns from.
    Raises:
        ConfigError: a head that does not fit the kind of label, or the pooling.
        MissingExtraError: scikit-learn is not installed.
    """
    known = [one for one in get_args(HeadName) if one != "marlin"]
    if name not in known:
        raise ConfigError(f"head is {name!r}; expected one of {', '.join(known)}")
    if (name == "attentive") != bool(len(training.ends)):
        raise ConfigError(
            f"head {name!r} takes pooling {'sequence' if name == 'attentive' else 'mean, mean+std or none'!r}"
        )
    if name in ("logistic", "ridge") and (name == "logistic") != bool(training.classes):
        kind, other = ("classes", "logistic") if training.classes else ("numbers", "ridge")
        raise ConfigError(f"head {name!r} cannot learn {kind}; use {other!r}, knn or attentive")
    if name == "attentive":
        from marlin_sdk.evaluation.probe.attentive import fit_attentive

        return fit_attentive(training)
    mean = training.features.mean(axis=0, dtype=np.float64)
    scale = training.features.std(axis=0, dtype=np.float64)
    scale[scale < 1e-12] = 1.0  # a constant says nothing, and stays 0
    rows = ((training.features - mean) / scale).astype(np.float32)
    if name == "knn":
        return NeighbourHead(training.classes, mean, scale, _unit(rows), training.values)
    fit = _logistic if name == "logistic" else _ridge
    weight, bias, penalty, notes = fit(rows, training)
    return LinearHead(training.classes, mean, scale, weight, bias, penalty, notes)


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), dtype=np.float32)


Fit = tuple[NDArray[np.float64], NDArray[np.float64], float, tuple[str, ...]]


def _logistic(rows: NDArray[np.float32], training: Training) -> Fit:
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import log_loss
    except ImportError as error:
        raise MissingExtraError("a probe", "probe") from error
    values, notes = training.values, []
    penalties = _PENALTIES if training.inner else (1.0,)
    if not training.inner:
        notes.append("C = 1, not chosen: a class has too few groups to divide")
    losses = np.zeros(len(penalties))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said below, of the fit that counts
        for fit, held in training.inner:
            model = LogisticRegression(warm_start=True, **_CHOOSING)
            for index, penalty in enumerate(penalties):  # from simple to complex, each from where the last one ended
                model.set_params(C=penalty).fit(rows[fit], values[fit])
                chances = model.predict_proba(rows[held])
                losses[index] += log_loss(values[held], chances, labels=model.classes_) * len(held)
        best = penalties[int(np.argmin(losses))]
        model = LogisticRegression(C=best, max_iter=_MAX_ITERATIONS).fit(rows, values)
    if int(np.max(model.n_iter_)) >= _MAX_ITERATIONS:
        notes.append(f"the logistic regression had not converged after {_MAX_ITERATIONS} steps")
    return np.asarray(model.coef_, np.float64), np.asarray(model.intercept_, np.float64), best, tuple(notes)


def _ridge(rows: NDArray[np.float32], training: Training) -> Fit:
    try:
        from sklearn.linear_model import RidgeCV
    except ImportError as error:
        raise MissingExtraError("a probe", "probe") from error
    alphas = _RIDGE * rows.shape[1]
    if training.inner:
        model = RidgeCV(alphas=alphas, cv=list(training.inner), scoring="neg_mean_squared_error")
        notes: tuple[str, ...] = ()
    else:
        model = RidgeCV(alphas=alphas)
        notes = ("the penalty was chosen by leaving out single videos: there are too few groups to divide",)
    model.fit(rows.astype(np.float64), training.values)
    weight, bias = np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)
    return np.asarray(weight, np.float64), np.asarray(bias, np.float64), float(model.alpha_), notes
