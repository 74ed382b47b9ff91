"""What a probe is to predict: label columns, their kind, and their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.texts import Texts

__all__ = ["Kind", "Target", "choose_targets"]

Kind = Literal["classification", "regression"]

_RESERVED = ("split", "group", "source", "fold")  # columns that say how to judge, not what to predict
_MAX_CLASSES = 100
_NAMED = 5


@dataclass(frozen=True, eq=False)
class Target:
    """A label column as a probe sees it.

    Attributes:
        name: the column.
        kind: "classification" or "regression".
        classes: the classes, sorted; empty for a regression.
        values: (N,) of all videos: int64 index of the class, -1 without a label; or float64, NaN without.
        missing: number of videos without a label.
    """

    name: str
    kind: Kind
    classes: tuple[str, ...]
    values: NDArray[Any]
    missing: int

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """bool (N,): the videos that have a label."""
        return np.asarray(self.values >= 0 if self.classes else ~np.isnan(self.values), dtype=np.bool_)

    def named(self, scores: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Scores (N, K) by what `Predictions` calls them; of two classes one score says all."""
        if len(self.classes) == 2:
            return {self.classes[1]: scores[:, 1]}
        return {name: scores[:, index] for index, name in enumerate(self.classes or ("value",))}

    def texts(self, rows: NDArray[np.int64]) -> Texts | NDArray[np.float64]:
        """The labels of some videos, as predictions hold them: names of classes, or numbers."""
        values = self.values[rows]
        return Texts(values.astype(np.int32), self.classes) if self.classes else values


def choose_targets(
    samples: Samples, label: str, *, kind: Kind | None = None, classes: Sequence[str] = ()
) -> tuple[tuple[Target, ...], tuple[str, ...]]:
    """The targets that a name or a pattern stands for.

    Args:
        samples: the videos.
        label: a label column; or a pattern such as 'appearance.*', for one probe a column.
        kind: "classification" or "regression"; by default floats are a regression, and everything else is classes.
        classes: the classes to tell apart, of one column; videos of others are left out. Empty for all.
    Returns:
        The targets; and of a pattern the columns that were left out, and why, in words.
    Raises:
        ConfigError: no such column, or one that is empty, constant, or of mixed types; a class that only one group has;
            more than 100 classes; the message says what to do.
    """
    if kind is not None and kind not in get_args(Kind):
        raise ConfigError(f"kind is {kind!r}; expected {' or '.join(get_args(Kind))}")
    columns = sorted({name for own in samples.labels for name in own} - set(_RESERVED))
    chosen = [label] if label in columns else [name for name in columns if fnmatchcase(name, label)]
    if not chosen:
        listed = ", ".join(columns[:20]) or "none: extract with --table, whose other columns become labels"
        raise ConfigError(f"no label column is named or matches {label!r}; the dump has {listed}")
    labels = _restricted(samples.labels, chosen, classes) if classes else samples.labels
    found, notes = [], []
    for name in chosen:
        try:
            found.append(_target([own.get(name) for own in labels], name, kind, samples.groups))
        except ConfigError as error:
            if len(chosen) == 1:
                raise
            notes.append(f"left out: {error}")
    if not found:
        raise ConfigError(f"none of the {len(chosen)} columns that {label!r} matches can be probed; {notes[0]}")
    targets = tuple(found)
    if len(targets) > 1 and (other := next((t for t in targets if t.kind != targets[0].kind), None)):
        raise ConfigError(
            f"{label!r} matches {targets[0].name!r}, a {targets[0].kind}, and {other.name!r}, a {other.kind}; "
            "choose columns of one kind"
        )
    if len(targets) > 1 and (many := next((target for target in targets if len(target.classes) > 2), None)):
        raise ConfigError(
            f"{label!r} matches several columns, and {many.name!r} has {len(many.classes)} classes; several columns "
            "at once must each be yes or no, or numbers: probe this one alone"
        )
    if other := next((target for target in targets if target.classes != targets[0].classes), None):
        raise ConfigError(
            f"{label!r} matches {targets[0].name!r} with the classes {', '.join(targets[0].classes)}, and "
            f"{other.name!r} with {', '.join(other.classes)}; several columns at once must be written in one way"
        )
    return targets, tuple(notes)


def _restricted(
    labels: Sequence[dict[str, Any]], chosen: Sequence[str], classes: Sequence[str]
) -> tuple[dict[str, Any], ...]:
    """The labels without those of other classes."""
    if len(chosen) > 1:
        raise ConfigError(f"classes are of one label column, and {len(chosen)} are chosen; name one")
    name = chosen[0]
    there = {_class_name(own[name]) for own in labels if own.get(name) is not None}
    if unknown := [text for text in classes if text not in there]:
        raise ConfigError(f"label {name!r} has no class {unknown[0]!r}; it has {', '.join(sorted(there)[:_NAMED])}")
    return tuple(
        own if own.get(name) is None or _class_name(own[name]) in classes else {**own, name: None} for own in labels
    )


def _target(values: Sequence[Any], name: str, kind: Kind | None, groups: NDArray[np.str_]) -> Target:
    known = [value for value in values if value is not None]
    missing = len(values) - len(known)
    if not known:
        raise ConfigError(f"label {name!r}: none of the {len(values)} videos has one")
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if kind is None:
        kind = "regression" if are_numbers and any(isinstance(value, float) for value in known) else "classification"
    if kind == "regression":
        return _numbers(name, values, are_numbers, missing)
    return _classes(name, values, groups, missing)


def _numbers(name: str, values: Sequence[Any], are_numbers: bool, missing: int) -> Target:
    if not are_numbers:
        wrong = next(value for value in values if value is not None and not isinstance(value, int | float))
        raise ConfigError(f"label {name!r} holds {wrong!r}, which is no number; a regression needs numbers")
    numbers = np.array([np.nan if value is None else float(value) for value in values])
    if np.nanmin(numbers) == np.nanmax(numbers):
        raise ConfigError(f"label {name!r} is {np.nanmin(numbers):g} for every video; there is nothing to learn")
    return Target(name, "regression", (), numbers, missing)


def _classes(name: str, values: Sequence[Any], groups: NDArray[np.str_], missing: int) -> Target:
    texts = [None if value is None else _class_name(value) for value in values]
    counts = Counter(text for text in texts if text is not None)
    classes = tuple(sorted(counts))
    if len(classes) == 1:
        raise ConfigError(f"label {name!r} is {classes[0]!r} for every video; there is nothing to learn")
    if len(classes) > _MAX_CLASSES:
        raise ConfigError(
            f"label {name!r} has {len(classes)} classes, such as {', '.join(classes[:_NAMED])}; expected at most "
            f"{_MAX_CLASSES}: is it a name, or a number to predict (--kind regression)?"
        )
    held: dict[str, set[str]] = {text: set() for text in classes}
    for text, group in zip(texts, groups.tolist(), strict=True):
        if text is not None:
            held[text].add(group)
    if alone := [text for text in classes if len(held[text]) == 1]:
        raise ConfigError(
            f"label {name!r}: only one group ({next(iter(held[alone[0]]))!r}) has the class {alone[0]!r}, so it cannot "
            "be in two splits; name the other classes (--classes), join it with another, or add groups"
        )
    index = {text: number for number, text in enumerate(classes)}
    indices = np.array([-1 if text is None else index[text] for text in texts], dtype=np.int64)
    return Target(name, "classification", classes, indices, missing)


def _class_name(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
