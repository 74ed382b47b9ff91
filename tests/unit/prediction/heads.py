"""Heads with weights of a test's own, and films and features for them."""

from __future__ import annotations

import numpy as np

from marlin_sdk.evaluation.probe.head_file import FittedHeads
from marlin_sdk.evaluation.probe.heads import Head, LinearHead
from marlin_sdk.evaluation.probe.samples import Pooling

DIM = 8


def linear(classes: tuple[str, ...], *, width: int = DIM, seed: int = 0) -> LinearHead:
    """A head of random weights."""
    random = np.random.default_rng(seed)
    rows = 1 if len(classes) in (0, 2) else len(classes)
    weight, bias = random.standard_normal((rows, width)), random.standard_normal(rows)
    return LinearHead(classes, np.zeros(width), np.ones(width), weight, bias, 1.0)


def heads_of(pooling: Pooling = "mean", **classes: tuple[str, ...]) -> FittedHeads:
    """A head a label, for features of `DIM` numbers."""
    width = DIM * (2 if pooling == "mean+std" else 1)
    heads: dict[str, Head] = {
        name: linear(own, width=width, seed=index) for index, (name, own) in enumerate(classes.items())
    }
    return FittedHeads(heads, "logistic", pooling, DIM, "untrained:0", {"any": 1})
