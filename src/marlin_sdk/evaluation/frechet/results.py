"""What a comparison of two sets found, as JSON or as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from marlin_sdk.evaluation.intervals import CONFIDENCE

__all__ = ["TOLERANCE", "CurvePoint", "Floor", "Frechet", "Side"]

TOLERANCE = 0.1
"""The bias, as a share of the extrapolated distance, at which there are enough windows."""


@dataclass(frozen=True)
class Side:
    """One of the two sets.

    Attributes:
        name: what it is called.
        rows: number of windows or frames.
        groups: number of groups.
        rows_needed: how many it takes until the bias is a tenth of the extrapolated distance, by the curve; None
            without a curve, or where the distance cannot be told from none.
    """

    name: str
    rows: int
    groups: int
    rows_needed: int | None = None


@dataclass(frozen=True)
class CurvePoint:
    """The distance at a part of the groups.

    Attributes:
        share: of the groups of each set.
        rows_a: rows of the first set, the mean over the draws.
        rows_b: of the second.
        value: the distance, the mean over the draws.
        sd: its standard deviation over the draws; None of all groups, of which there is one draw.
    """

    share: float
    rows_a: float
    rows_b: float
    value: float
    sd: float | None

    @property
    def per_row(self) -> float:
        """The mean of one by the number of rows of each set: what the bias grows with."""
        return (1 / self.rows_a + 1 / self.rows_b) / 2


@dataclass(frozen=True)
class Floor:
    """The distance between parts of one set, and between the sets at as many rows: the same bias is in both.

    Attributes:
        value: between two random halves of the first set, by groups; the mean over splits.
        sd: its standard deviation over splits.
        compared: between one half and as many rows of the second set.
        compared_sd: its standard deviation.
        above: how far the second lies above the first: 0 on average for sets of one distribution, however few the rows.
        above_low: lower end of its interval, by a jackknife over blocks of groups; rather too wide than too narrow.
        above_high: upper end.
        rows: rows of a half, the mean over splits.
        rows_compared: rows of the second set.
        splits: number of splits.
    """

    value: float
    sd: float
    compared: float
    compared_sd: float
    above: float
    above_low: float
    above_high: float
    rows: float
    rows_compared: float
    splits: int


@dataclass(frozen=True)
class Frechet:
    """The squared Fréchet distance of two sets, and what it is worth.

    Attributes:
        value: of all rows. It is biased: too large, the more the fewer rows there are.
        means: its part by the difference of the means.
        covariances: its part by the covariances.
        extrapolated: to infinitely many rows, on a straight line over one by their number (Chong and Forsyth, 2020);
            None with too few groups for a curve. It may lie below 0 where the sets are alike.
        extrapolated_from_most: the same from the upper half of the curve only; well below `extrapolated`, the curve
            bends, and the truth is lower still.
        low: lower end of the interval of the distance without its bias: twice the value less the upper quantile of
            the draws (the basic bootstrap), at least 0; None where there are no more groups than dimensions, of which
            it would miss the truth.
        high: upper end.
        is_apart: whether it can be told from no distance: its interval, or without one that of what lies above the
            floor, is above 0.
        width: dimensions of the features.
        unit: what a row is.
        a: the first set.
        b: the second.
        floor: the distance within the first set; None with too few groups.
        curve: the distance at growing parts of the groups.
        draws: number of draws of groups.
        seed: their seed.
        notes: what to know about the numbers.
    """

    value: float
    means: float
    covariances: float
    extrapolated: float | None
    extrapolated_from_most: float | None
    low: float | None
    high: float | None
    is_apart: bool
    width: int
    unit: Literal["windows", "frames"]
    a: Side
    b: Side
    floor: Floor | None
    curve: tuple[CurvePoint, ...]
    draws: int
    seed: int
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON has it: numbers, text, lists, objects and null."""
        values = {"confidence": CONFIDENCE, "tolerance": TOLERANCE, **asdict(self)}
        found: dict[str, Any] = json.loads(json.dumps(values, allow_nan=False))
        return found

    def table(self) -> str:
        """As text, to be read."""
        rows = [*self._head(), ("", "", "")]
        rows += [("share of the groups", f"{self.unit} of A, of B", "distance")] if self.curve else []
        rows += [
            (
                f"{point.share:.0%}",
                f"{point.rows_a:,.0f}, {point.rows_b:,.0f}",
                _number(point.value) + _spread(point.sd),
            )
            for point in self.curve
        ]
        widths = [max(len(row[at]) for row in rows) for at in range(2)]
        lines = [f"{first:<{widths[0]}}  {second:<{widths[1]}}  {last}".rstrip() for first, second, last in rows]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _head(self) -> Iterator[tuple[str, str, str]]:
        for letter, side in (("A", self.a), ("B", self.b)):
            yield letter, f"{side.rows:,} {self.unit} of {side.groups:,} groups", side.name
        yield "", "", ""
        parts = f"means {_number(self.means)}, covariances {_number(self.covariances)}"
        yield "A and B", _number(self.value), parts
        if self.extrapolated is not None:
            yield (
                "without bias, by the curve",
                _number(self.extrapolated),
                f"extrapolated to infinitely many {self.unit}",
            )
        if self.low is not None and self.high is not None:
            draws = f"{CONFIDENCE:.0%}, {self.draws:,} draws of groups, seed {self.seed}"
            yield "without bias, interval", f"{_number(self.low)} to {_number(self.high)}", draws
        if self.floor is not None:
            floor = self.floor
            halves = f"{floor.rows:,.0f} {self.unit} each, {floor.splits} splits"
            yield "floor: two halves of A", _number(floor.value) + _spread(floor.sd), halves
            compared = f"{floor.rows:,.0f} and {floor.rows_compared:,.0f} {self.unit}"
            yield "half of A, and of B as many", _number(floor.compared) + _spread(floor.compared_sd), compared
            between = f"{_number(floor.above_low)} to {_number(floor.above_high)}"
            yield "above the floor", f"{floor.above:+.4g}", f"{between} ({CONFIDENCE:.0%}, jackknife over groups)"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _spread(sd: float | None) -> str:
    return "" if sd is None else f" ±{sd:.2g}"
