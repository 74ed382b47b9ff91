"""What the points of the map may be coloured by: the labels of the videos."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["Colouring", "colour_by_labels"]

MAX_VALUES = 12
"""Hues that an eye tells apart; the rarer values of a label share one entry of the legend."""

_OTHERS = "others"
_RANGES = 6  # of a number with many values


@dataclass(frozen=True)
class Colouring:
    """The colours of the videos by one label.

    Attributes:
        label: name of the label.
        values: its values in the legend, the most frequent first; numbers in their own order.
        hues: of each value, in degrees.
        counts: videos of each value.
        of: the value of each video, by index; videos without the label are absent.
    """

    label: str
    values: tuple[str, ...]
    hues: tuple[int, ...]
    counts: tuple[int, ...]
    of: Mapping[int, int]


def colour_by_labels(labels: Mapping[int, Mapping[str, str]]) -> list[Colouring]:
    """The labels that tell some videos apart.

    Args:
        labels: of each video on the map, by index.
    Returns:
        One colouring for each label with at least two values. Names that are all different, as ids are, tell nothing;
        numbers of more than twelve values become ranges.
    """
    names = dict.fromkeys(name for own in labels.values() for name in own)
    found = (_colour(name, {video: own[name] for video, own in labels.items() if own.get(name)}) for name in names)
    return [colouring for colouring in found if colouring is not None]


def _colour(label: str, by_video: Mapping[int, str]) -> Colouring | None:
    counts = Counter(by_video.values())
    if len(counts) < 2 or (len(counts) == len(by_video) > MAX_VALUES and not _are_numbers(counts)):
        return None
    if len(counts) > MAX_VALUES and _are_numbers(counts):
        by_video, values = _as_ranges(by_video)
        counts = Counter(by_video.values())
    else:
        values = [value for value, _ in counts.most_common(MAX_VALUES if len(counts) <= MAX_VALUES else MAX_VALUES - 1)]
        values = sorted(values, key=float) if _are_numbers(values) else values
    names = [*values, *([_OTHERS] if len(counts) > len(values) else [])]
    of = {video: values.index(value) if value in values else len(values) for video, value in by_video.items()}
    totals = Counter(of.values())
    return Colouring(
        label,
        tuple(names),
        tuple(round(360 * index / len(names) + 20) % 360 for index in range(len(names))),
        tuple(totals[index] for index in range(len(names))),
        of,
    )


def _are_numbers(values: Iterable[str]) -> bool:
    try:
        return all(math.isfinite(float(value)) for value in values)
    except ValueError:
        return False


def _as_ranges(by_video: Mapping[int, str]) -> tuple[dict[int, str], list[str]]:
    """Numbers as ranges with about as many videos each, and the ranges in order."""
    ordered = sorted(map(float, by_video.values()))
    edges = sorted({ordered[len(ordered) * part // _RANGES] for part in range(_RANGES)})
    names = [f"{low:g} to {high:g}" for low, high in zip(edges, [*edges[1:], ordered[-1]], strict=True)]
    return {video: names[bisect_right(edges, float(value)) - 1] for video, value in by_video.items()}, names
