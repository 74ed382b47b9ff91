"""The cells of an audit: the videos that share a value of the user's columns, or of several of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.columns import some
from marlin_sdk.labels import Label

__all__ = ["Cell", "Videos", "as_values", "make_cells", "project", "read_videos"]

MAX_VALUES = 30
MAX_COLUMNS = 3
_MOST_NUMBERS = 12  # different ones; more become ranges
_RANGES = 4
_NO_COLUMN = ("group", "source")


@dataclass(frozen=True, eq=False)
class Videos:
    """The videos of a dump, with or without features, but those that failed.

    Attributes:
        ids: their ids, in the order of the manifest.
        subjects: (N,) str, what is drawn as one: the label `group`, or else the source file.
        columns: by name, the value of each video, None where it has none.
        notes: what was left out, in words.
    """

    ids: tuple[str, ...]
    subjects: NDArray[np.str_]
    columns: dict[str, tuple[str | None, ...]]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Cell:
    """The videos that share a value.

    Attributes:
        column: a column, or several: "sex & age".
        value: their value: "f", or "f & 20 to 35".
        rows: bool (N,), which videos.
    """

    column: str
    value: str
    rows: NDArray[np.bool_]


def read_videos(dump: FeatureDump, by: Sequence[str]) -> Videos:
    """The videos of a dump with their subjects and columns; reads the manifest only.

    Args:
        dump: the dump.
        by: label columns to divide by, at most three.
    Raises:
        ConfigError: no such column, or one that is empty, constant or has too many values; no labels at all; only some
            videos have a `group`; no video but failed ones.
    """
    ids = tuple(id for id, entry in dump.entries.items() if entry.status != "failed")
    if not ids:
        raise ConfigError(f"{dump.folder} holds no video that could be read; there is nothing to audit")
    labels = [dump.labels(id) for id in ids]
    known = sorted({name for own in labels for name in own})
    if not known:
        raise ConfigError(
            f"{dump.folder} has no labels, so there is nothing to divide by; extract with --table, whose other columns "
            "become labels"
        )
    if not 1 <= len(set(by)) == len(by) <= MAX_COLUMNS:
        raise ConfigError(f"--by is {list(by)}; expected one to {MAX_COLUMNS} different columns")
    columns, notes = {}, []
    failed = len(dump.entries) - len(ids)
    if failed:
        notes.append(f"{failed} videos failed to be read and are in no number below")
    for name in by:
        if name not in known or name in _NO_COLUMN:
            offered = some([column for column in known if column not in _NO_COLUMN]) or "none"
            reason = "names the subjects" if name in known else "is no label column of the dump"
            raise ConfigError(f"--by {name}: {name!r} {reason}; it has {offered}")
        columns[name] = as_values(name, [own.get(name) for own in labels])
        if missing := columns[name].count(None):
            notes.append(f"{missing} of {len(ids)} videos have no {name!r} and are in none of its cells")
    groups = [str(own.get("group", "")).strip() for own in labels]
    ungrouped = groups.count("")
    if 0 < ungrouped < len(groups):
        raise ConfigError(f"{ungrouped} of {len(groups)} videos have no `group`; give each one, or none of them")
    if ungrouped:
        notes.append("no column `group`: each source file is a subject; if people recur, intervals are too narrow")
    subjects = [group or dump.entries[id].source for group, id in zip(groups, ids, strict=True)]
    return Videos(ids, np.array(subjects), columns, tuple(notes))


def as_values(name: str, values: Sequence[Label | None]) -> tuple[str | None, ...]:
    """A column as text; numbers of more than 12 different values become four ranges with about as many videos each.

    Raises:
        ConfigError: it is empty, constant, or has more than 30 values.
    """
    known = [value for value in values if value is not None]
    if not known:
        raise ConfigError(f"column {name!r}: none of the {len(values)} videos has a value")
    numbers = [float(v) for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    texts: tuple[str | None, ...]
    if len(numbers) == len(known) and len(set(numbers)) > _MOST_NUMBERS:
        texts = _ranges(values, np.array(numbers))
    else:
        texts = tuple(None if v is None else str(v).lower() if isinstance(v, bool) else str(v) for v in values)
    counts = Counter(text for text in texts if text is not None)
    if len(counts) == 1:
        raise ConfigError(f"column {name!r} is {next(iter(counts))!r} for every video; there is nothing to compare")
    if len(counts) > MAX_VALUES:
        raise ConfigError(
            f"column {name!r} has {len(counts)} values ({some(sorted(counts))}); expected at most {MAX_VALUES}: is it "
            "a name? Put several values together in the table"
        )
    return texts


def _ranges(values: Sequence[Label | None], known: NDArray[np.float64]) -> tuple[str | None, ...]:
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _RANGES + 1)))
    at = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, len(edges) - 2)
    names = iter(f"{edges[place]:g} to {edges[place + 1]:g}" for place in at)
    return tuple(None if value is None else next(names) for value in values)


def make_cells(videos: Videos) -> list[Cell]:
    """The cells of each column, and of each intersection of columns, as far as there are videos in them."""
    return [cell for size in range(1, len(videos.columns) + 1) for cell in _intersections(videos, size)]


def _intersections(videos: Videos, size: int) -> Iterator[Cell]:
    for names in combinations(videos.columns, size):
        rows = list(zip(*(videos.columns[name] for name in names), strict=True))
        for value in sorted({row for row in rows if None not in row}, key=_order):
            mask = np.array([row == value for row in rows])
            yield Cell(" & ".join(names), " & ".join(map(str, value)), mask)


def _order(value: tuple[str | None, ...]) -> tuple[tuple[float, str], ...]:
    """Ranges and numbers by their number, before text."""
    return tuple((_leading(str(part)), str(part)) for part in value)


def _leading(text: str) -> float:
    try:
        return float(text.split(" to ", maxsplit=1)[0])
    except ValueError:
        return float("inf")


def project(cells: Sequence[Cell], index: NDArray[np.int64]) -> list[Cell]:
    """The cells of other rows, such as those of predictions, by the video of each."""
    return [replace(cell, rows=cell.rows[index]) for cell in cells]
