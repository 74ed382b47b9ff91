"""Which clips are learned from, chosen by, and tested on: never a group in two of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.probe.splits import inner_folds, low_data_subset, make_folds
from marlin_sdk.evaluation.probe.targets import Target

__all__ = ["Division", "divide"]

_TEST_FOLDS, _VAL_FOLDS = 5, 5


@dataclass(frozen=True, eq=False)
class Division:
    """Rows of a table, int64 indices, by what they are for.

    Attributes:
        train: to learn from.
        val: to choose the best weights by; may be empty.
        test: to test on.
        own_val: whether the table has a validation split, which then is predicted too.
        notes: what there is to know, in words.
    """

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]
    own_val: bool
    notes: tuple[str, ...]


def divide(samples: Samples, targets: Sequence[Target], *, seed: int, ratio: float = 1.0) -> Division:
    """Divide the labelled clips: by the table's `split`, or a fifth of the groups for a test by a seed.

    The validation part is the table's, or else a fifth of the groups of the training part.

    Args:
        samples: the clips.
        targets: what is predicted.
        seed: of the division.
        ratio: share of the training part's groups to learn from; see `low_data_subset`.
    Raises:
        ConfigError: a group on both sides, a split that is empty, or a class that the training or the test part lacks.
    """
    notes = []
    if not any(samples.splits.tolist()):
        samples = _with_split(samples, targets[0], seed)
        notes.append(f"the table has no split: a fifth of the groups, drawn by seed {seed}, is the test part")
    folds = [make_folds(samples, target)[0] for target in targets]
    train = _union([fold.train for fold in folds])
    if ratio < 1:
        train = low_data_subset(samples, targets[0], train, ratio=ratio, seed=seed)
    val = _union([fold.held_out["val"] for fold in folds if "val" in fold.held_out])
    own_val = bool(len(val))
    if not own_val:
        inner = inner_folds(samples, targets[0], train, folds=_VAL_FOLDS, seed=seed)
        if inner:
            fit, held = inner[0]
            train, val = train[fit], train[held]
            notes.append(
                f"the table has no split val: {len(val)} clips of {len(set(samples.groups[val].tolist()))} groups of "
                "the training part are not learned from, and choose the best weights"
            )
        else:
            notes.append("a class has too few groups for a validation part: the last weights are taken")
    for target in targets:
        own = train[target.labelled[train]]
        lacking = set(range(len(target.classes))) - set(target.values[own].tolist()) if target.classes else set()
        if lacking or not len(own):
            name = target.classes[min(lacking)] if lacking else "any"
            raise ConfigError(f"label {target.name!r}: the training part has no clip of the class {name!r}")
    return Division(train, val, _union([fold.held_out["test"] for fold in folds]), own_val, tuple(notes))


def _with_split(samples: Samples, target: Target, seed: int) -> Samples:
    fold = make_folds(samples, target, folds=min(_TEST_FOLDS, _most_folds(samples, target)), seed=seed)[0]
    tested = set(samples.groups[fold.held_out["test"]].tolist())
    return replace(samples, splits=np.array(["test" if one in tested else "train" for one in samples.groups.tolist()]))


def _most_folds(samples: Samples, target: Target) -> int:
    return max(2, len(set(samples.groups[target.labelled].tolist())))


def _union(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, np.int64)
