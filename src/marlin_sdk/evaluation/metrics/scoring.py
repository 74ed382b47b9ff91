"""The metrics by task: each computed for many weightings of the groups at once, which makes a bootstrap fast.

A scorer takes weights [G, B], one column per weighting of the G groups, and returns the value of each metric in each
column, NaN where it is not defined there. A column of ones gives the plain metric, and a column of sample weights, with
a group per row, what scikit-learn gives for `sample_weight`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.metrics.confusion import confusion_scorer
from marlin_sdk.evaluation.metrics.moments import moment_scorer
from marlin_sdk.evaluation.metrics.ranking import Ranking
from marlin_sdk.evaluation.predictions import Predictions, Task

__all__ = ["METRICS", "WHY_UNDEFINED", "Scorer", "find_metrics", "mean_of_defined", "scorer"]

Scorer = Callable[[NDArray[Any]], dict[str, NDArray[Any]]]

METRICS: dict[Task, tuple[str, ...]] = {
    "binary": ("accuracy", "balanced_accuracy", "f1", "f1_macro", "auc", "average_precision", "eer"),
    "classes": ("accuracy", "balanced_accuracy", "f1_macro", "f1_micro", "auc_macro", "auc_micro", "average_precision"),
    "regression": ("ccc", "pearson", "mae"),
}
_ALIASES = {"war": "accuracy", "uar": "balanced_accuracy", "ap": "average_precision"}
_BOTH = "it needs rows of the class and rows of others"

WHY_UNDEFINED = {
    "auc": _BOTH,
    "auc_macro": _BOTH,
    "auc_micro": _BOTH,
    "eer": _BOTH,
    "average_precision": "it needs a row of the class",
    "f1": "no row is positive, and none is predicted so",
    "pearson": "y_true or the predictions are constant",
    "ccc": "y_true and the predictions are the same constant",
}
"""Why a metric has no value, where it has none."""


def find_metrics(task: Task, names: Sequence[str] | None = None) -> tuple[str, ...]:
    """Metrics of a task by their names or those of the literature: `war` and `uar` of DFEW, `ap`.

    Args:
        task: the task.
        names: those wanted; all by default.
    Raises:
        ConfigError: a name that the task does not have.
    """
    found = tuple(dict.fromkeys(_ALIASES.get(name.lower(), name.lower()) for name in names or METRICS[task]))
    unknown = [name for name in found if name not in METRICS[task]]
    if unknown:
        aliases = [alias for alias, name in _ALIASES.items() if name in METRICS[task]]
        raise ConfigError(
            f"metrics {unknown} are not defined for predictions of the task {task!r}, which has "
            f"{[*METRICS[task], *aliases]}"
        )
    return found


def scorer(predictions: Predictions, groups: NDArray[Any], count: int, metrics: Sequence[str]) -> Scorer:
    """The metrics of some rows as a function of the weights of the groups.

    Args:
        predictions: the rows, of one label.
        groups: number of the group of each row, int [N].
        count: number of groups, G.
        metrics: names of metrics that the task has.
    """
    scores, truth = predictions.scores, predictions.y_true
    parts: list[Scorer] = []
    if predictions.task == "regression":
        parts.append(moment_scorer(truth, scores[:, 0].astype(np.float64), groups, count))
    elif predictions.task == "binary":
        predicted = (scores[:, 0] >= 0.5).astype(np.int32)
        parts.append(confusion_scorer(truth, predicted, 2, groups, count))
        if not {"auc", "average_precision", "eer"}.isdisjoint(metrics):
            parts.append(Ranking(truth == 1, scores[:, 0], groups, count))
    else:
        classes = len(predictions.classes)
        parts.append(confusion_scorer(truth, scores.argmax(axis=1), classes, groups, count))
        hot = truth[:, None] == np.arange(classes)
        if not {"auc_macro", "average_precision"}.isdisjoint(metrics):
            parts.append(_macro([Ranking(hot[:, c], scores[:, c], groups, count) for c in range(classes)]))
        if "auc_micro" in metrics:
            pooled = Ranking(hot.ravel(), scores.ravel(), np.repeat(groups, classes), count)
            parts.append(lambda weights: {"auc_micro": pooled(weights)["auc"]})

    def score(weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        values: dict[str, NDArray[Any]] = {}
        for part in parts:
            values |= part(weights)
        return {name: values[name] for name in metrics}

    return score


def _macro(rankings: Sequence[Ranking]) -> Scorer:
    """One class against the rest, averaged over the classes for which that is defined."""

    def score(weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        values = [ranking(weights) for ranking in rankings]
        names = {"auc": "auc_macro", "average_precision": "average_precision"}
        return {name: mean_of_defined(np.stack([value[key] for value in values])) for key, name in names.items()}

    return score


def mean_of_defined(values: NDArray[Any]) -> NDArray[Any]:
    """The mean over the first axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(axis=0) / defined.sum(axis=0))
