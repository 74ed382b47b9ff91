"""Which videos a probe learns from, and which it is judged by: never a group in both."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, MissingExtraError
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.probe.targets import Target

__all__ = ["Fold", "inner_folds", "low_data_subset", "make_folds", "split_part"]

_PARTS = {
    "train": "train",
    "pretrain": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}
_BINS, _MIN_BIN = 5, 10  # of the numbers of a regression, to stratify by


@dataclass(frozen=True, eq=False)
class Fold:
    """One division of the videos.

    Attributes:
        number: of the fold, from 0.
        train: int64, indices of the videos to learn from.
        held_out: the other parts that are predicted, by name: "test", and "val" if the table has one.
    """

    number: int
    train: NDArray[np.int64]
    held_out: dict[str, NDArray[np.int64]]


def make_folds(
    samples: Samples, target: Target, *, folds: int | None = None, leave_one_group_out: bool = False, seed: int = 0
) -> list[Fold]:
    """Divide the videos that have a label.

    Args:
        samples: the videos.
        target: what is predicted; folds are stratified by it.
        folds: number of group-disjoint, stratified folds; None takes the table's `split`.
        leave_one_group_out: a fold for each group instead.
        seed: of the folds.
    Raises:
        ConfigError: no `split` and no folds, an unknown or empty split, a group on both sides, too few groups, or a
            class that the training or the test part lacks.
        MissingExtraError: scikit-learn is not installed.
    """
    labelled = np.flatnonzero(target.labelled)
    if leave_one_group_out:
        found = _groups_left_out(samples, labelled)
    elif folds is not None:
        found = _stratified(samples, target, labelled, folds, seed)
    else:
        found = [_of_table(samples, labelled)]
    for fold in found:
        _check(fold, samples, target, exact=not leave_one_group_out and folds is None)
    return found


def split_part(name: str) -> str:
    """The part that a table's name of a split stands for: train, val or test; empty if it is none of these."""
    return _PARTS.get(name.lower(), "")


def _of_table(samples: Samples, labelled: NDArray[np.int64]) -> Fold:
    named = np.array([name.lower() for name in samples.splits.tolist()])
    if not np.any(named[labelled] != ""):
        raise ConfigError(
            "the dump has no label `split`, so there is nothing to test on; give --folds 5 or --leave-one-group-out, "
            "or a table with a column `split` (train, val, test)"
        )
    unknown = sorted(set(named[labelled].tolist()) - set(_PARTS))
    if unknown:
        example = samples.ids[labelled][named[labelled] == unknown[0]][0]
        raise ConfigError(f"split of {example} is {unknown[0]!r}; expected train, val or test")
    parts = np.array([split_part(name) for name in named.tolist()])
    rows = {part: labelled[parts[labelled] == part] for part in ("train", "val", "test")}
    for part in ("train", "test"):
        if not len(rows[part]):
            raise ConfigError(f"no video with this label is in the split {part!r}; give --folds 5 instead")
    return Fold(0, rows["train"], {part: rows[part] for part in ("val", "test") if len(rows[part])})


def _groups_left_out(samples: Samples, labelled: NDArray[np.int64]) -> list[Fold]:
    groups = samples.groups[labelled]
    names = sorted(set(groups.tolist()))
    if len(names) < 2:
        raise ConfigError(f"all videos are of one group ({names[0]!r}); leaving it out leaves nothing to learn from")
    return [
        Fold(number, labelled[groups != name], {"test": labelled[groups == name]}) for number, name in enumerate(names)
    ]


def _stratified(samples: Samples, target: Target, labelled: NDArray[np.int64], folds: int, seed: int) -> list[Fold]:
    groups = samples.groups[labelled]
    if not 2 <= folds <= len(set(groups.tolist())):
        raise ConfigError(f"folds is {folds}; expected 2 to the number of groups, {len(set(groups.tolist()))}")
    largest = int(np.bincount(strata(target, labelled)).max())
    if folds > largest:
        raise ConfigError(f"folds is {folds}, and no class of {target.name!r} has more than {largest} videos")
    pairs = _sklearn_folds(strata(target, labelled), groups, folds, seed)
    return [Fold(number, labelled[train], {"test": labelled[test]}) for number, (train, test) in enumerate(pairs)]


def strata(target: Target, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 (len(rows),): the class of each video, or the quantile of the numbers that it lies in."""
    values = target.values[rows]
    if target.classes:
        return np.asarray(values, dtype=np.int64)
    bins = min(_BINS, max(1, len(values) // _MIN_BIN))
    edges = np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1])
    return np.asarray(np.searchsorted(edges, values), dtype=np.int64)


def _sklearn_folds(
    by: NDArray[np.int64], groups: NDArray[np.str_], folds: int, seed: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise MissingExtraError("a probe", "probe") from error
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class of fewer videos than folds: what lacks it is refused
        return list(splitter.split(np.zeros(len(by)), by, groups))


def inner_folds(
    samples: Samples, target: Target, rows: NDArray[np.int64], *, folds: int = 3, seed: int = 0
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Folds within a training part, by group, to choose settings with.

    Args:
        samples: the videos.
        target: what is predicted.
        rows: indices of the training part.
        folds: number of folds; fewer if a class has fewer groups.
        seed: of the folds.
    Returns:
        Pairs of positions in `rows`: to fit on, to validate on; empty if a class has one group only.
    """
    by, groups = strata(target, rows), samples.groups[rows]
    fewest = min(len(set(groups[by == value].tolist())) for value in set(by.tolist()))
    if target.classes and len(set(by.tolist())) < len(target.classes):
        return []
    if (count := min(folds, fewest)) < 2:
        return []
    pairs = _sklearn_folds(by, groups, count, seed)
    whole = set(by.tolist())
    return [pair for pair in pairs if all(set(by[part].tolist()) == whole for part in pair)]


def low_data_subset(
    samples: Samples, target: Target, rows: NDArray[np.int64], *, ratio: float, seed: int
) -> NDArray[np.int64]:
    """A share of the groups of a training part: stratified, and nested, so that less is always part of more.

    Args:
        samples: the videos.
        target: what is predicted.
        rows: indices of the training part.
        ratio: in (0, 1], the share of its groups, rounded up.
        seed: another seed, another draw.
    Raises:
        ConfigError: a ratio out of range, or so small that a class would have no example.
    """
    if not 0 < ratio <= 1:
        raise ConfigError(f"ratio is {ratio}; expected more than 0, up to 1")
    if ratio == 1:
        return rows
    order = _group_order(samples, target, rows, seed)
    chosen = set(order[: math.ceil(ratio * len(order) - 1e-9)])
    kept = rows[[group in chosen for group in samples.groups[rows].tolist()]]
    if target.classes and len(set(target.values[kept].tolist())) < len(target.classes):
        raise ConfigError(
            f"label {target.name!r}: {ratio:g} of {len(order)} groups is {len(chosen)}, and "
            f"{len(target.classes)} classes do not all have an example among them; use a larger ratio"
        )
    return kept


def _group_order(samples: Samples, target: Target, rows: NDArray[np.int64], seed: int) -> list[str]:
    """The groups of a training part in an order of which every beginning is about stratified.

    The k-th group of a class stands at k / n of the order, n being the groups of the class, so that each class has one
    early. A group's class is the rarest that it has.
    """
    by, groups = strata(target, rows), samples.groups[rows]
    rarity = {value: int((by == value).sum()) for value in set(by.tolist())}
    stratum: dict[str, int] = {}
    for group, value in zip(groups.tolist(), by.tolist(), strict=True):
        if group not in stratum or rarity[value] < rarity[stratum[group]]:
            stratum[group] = value
    random = np.random.default_rng(seed)
    names = sorted(stratum)
    names = [names[index] for index in random.permutation(len(names))]
    ranked: list[tuple[float, float, str]] = []
    for value in sorted(set(stratum.values())):
        members = [name for name in names if stratum[name] == value]
        ranked += [(k / len(members), random.random(), name) for k, name in enumerate(members)]
    return [name for *_, name in sorted(ranked)]


def _check(fold: Fold, samples: Samples, target: Target, *, exact: bool) -> None:
    trained = set(samples.groups[fold.train].tolist())
    for part, rows in fold.held_out.items():
        if both := sorted(trained & set(samples.groups[rows].tolist())):
            raise ConfigError(
                f"group {both[0]!r} is in the splits 'train' and {part!r} ({len(both)} groups are); a probe would be "
                "judged by what it has learned: give each group one split, or use --folds 5"
            )
    if not target.classes:
        return
    held = set(target.values[fold.train].tolist())
    if lacking := [name for index, name in enumerate(target.classes) if index not in held]:
        raise ConfigError(
            f"label {target.name!r}: the training part of fold {fold.number} has no video of the class {lacking[0]!r}; "
            "use other folds, or leave the class out of the table"
        )
    # predictions of all folds are judged together, and a class that is not tested is named by the evaluation
    if exact and len(tested := set(target.values[fold.held_out["test"]].tolist())) < 2:
        raise ConfigError(
            f"label {target.name!r}: all videos of the test part are {target.classes[tested.pop()]!r}, so there is "
            "nothing to tell apart; use --folds 5"
        )
