"""Metrics of a confusion matrix, for many weightings of the groups at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["confusion_scorer"]


def confusion_scorer(
    truth: NDArray[Any], predicted: NDArray[Any], classes: int, groups: NDArray[Any], count: int
) -> Callable[[NDArray[Any]], dict[str, NDArray[Any]]]:
    """Accuracy, balanced accuracy and F1 as a function of the weights of the groups.

    A class that no row has and none is predicted as is left out of `f1_macro`, and one that no row has out of
    `balanced_accuracy`. `f1` is that of the last class, which is the positive one of two.

    Args:
        truth: classes, int [N].
        predicted: classes, int [N].
        classes: number of classes.
        groups: number of the group of each row, int [N].
        count: number of groups.
    """
    from scipy import sparse

    cells = truth.astype(np.int64) * classes + predicted
    ones = np.ones(len(cells), np.float32)
    by_group = sparse.csr_matrix((ones, (cells, groups)), shape=(classes * classes, count))

    def score(weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
        matrix = (by_group @ weights).astype(np.float64).reshape(classes, classes, -1)
        right = np.einsum("ccb->cb", matrix)
        true, said, total = matrix.sum(axis=1), matrix.sum(axis=0), matrix.sum(axis=(0, 1))
        with np.errstate(invalid="ignore"):
            f1 = 2 * right / (true + said)
            accuracy = right.sum(axis=0) / total
            recall = np.where(true > 0, right, 0) / np.where(true > 0, true, 1)
            balanced = recall.sum(axis=0) / (true > 0).sum(axis=0)
            macro = np.where(true + said > 0, f1, 0).sum(axis=0) / (true + said > 0).sum(axis=0)
        return {
            "accuracy": accuracy,
            "balanced_accuracy": balanced,
            "f1": f1[-1],
            "f1_macro": macro,
            "f1_micro": accuracy,  # of one label per row, precision, recall and accuracy are the same
        }

    return score
