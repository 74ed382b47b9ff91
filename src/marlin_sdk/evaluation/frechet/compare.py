"""`frechet`: how far two sets of features are apart, and whether there are enough of them to say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.frechet.distance import Distance
from marlin_sdk.evaluation.frechet.grouping import Grouping, Split
from marlin_sdk.evaluation.frechet.notes import notes_on
from marlin_sdk.evaluation.frechet.results import TOLERANCE, CurvePoint, Floor, Frechet, Side
from marlin_sdk.evaluation.frechet.sets import FeatureSet
from marlin_sdk.evaluation.intervals import CONFIDENCE, check_interval, interval_of

__all__ = ["frechet"]

_SHARES = (0.25, 0.375, 0.5, 0.625, 0.75, 0.875)  # and all
_REPEATS = 8  # draws at each share
_SPLITS = 4  # of the first set in halves
_BLOCKS = 20  # of groups, for the jackknife
_FEWEST_GROUPS = 4  # of a set, for a curve

Advance = Callable[[str, int, int], None]


def frechet(
    a: FeatureSet, b: FeatureSet, *, draws: int = 200, seed: int = 0, progress: Advance | None = None
) -> Frechet:
    """The squared Fréchet distance of two sets, its bias curve, its interval, and its floor within the first set.

    Groups, not rows, are drawn: rows of one video are alike, and count for less than their number. A group that both
    sets have is drawn for both at once.

    Args:
        a: such as what is real.
        b: such as what is made.
        draws: draws of groups with replacement, for the interval.
        seed: seed of all random choices.
        progress: called with the stage, the number of distances done in it, and of all.
    Raises:
        ConfigError: features of different widths or units, or too few draws.
    """
    check_interval("percentile", draws)
    if (a.width, a.unit) != (b.width, b.unit):
        raise ConfigError(
            f"{a.name} has {a.unit} of {a.width} features, {b.name} {b.unit} of {b.width}; expected the same"
        )
    groups, rng = Grouping(a, b), np.random.default_rng(seed)
    advance = progress or (lambda stage, done, total: None)
    every = np.ones(groups.number, np.int64)
    whole = groups.distance(every, every)
    fewest = min(a.num_groups, b.num_groups)
    curve = tuple(_curve(groups, whole, rng, advance)) if fewest >= _FEWEST_GROUPS else ()
    line, most = _line(curve), _line(curve[len(curve) // 2 :])
    low, high = None, None
    if fewest > a.width:  # of fewer groups, what differs between them fills only some of the dimensions
        low, high = _interval(groups, whole.value, draws, rng, advance)
    floor = _floor(groups, rng, advance) if fewest >= _FEWEST_GROUPS else None
    is_apart = low > 0 if low is not None else floor is not None and floor.above_low > 0
    times = None  # how many times as many rows it takes
    if line is not None and line[0] > 0 and is_apart:
        times = max(0.0, line[1] * curve[-1].per_row) / (TOLERANCE * line[0])
    sides = [
        Side(one.name, len(one), one.num_groups, None if times is None else int(np.ceil(times * len(one))))
        for one in (a, b)
    ]
    found = Frechet(
        value=whole.value,
        means=whole.means,
        covariances=whole.covariances,
        extrapolated=None if line is None else line[0],
        extrapolated_from_most=None if most is None else most[0],
        low=low,
        high=high,
        width=a.width,
        unit=a.unit,
        a=sides[0],
        b=sides[1],
        is_apart=is_apart,
        floor=floor,
        curve=curve,
        draws=draws,
        seed=seed,
    )
    return notes_on(found, (a.notes, b.notes))


def _curve(groups: Grouping, whole: Distance, rng: np.random.Generator, advance: Advance) -> Iterator[CurvePoint]:
    """The distances at parts of the groups; a part that may have no two rows of a set is left out."""
    total = _REPEATS * len(_SHARES)
    for number, share in enumerate(_SHARES):
        drawn = [groups.some(share, rng) for _ in range(_REPEATS)]
        rows_a, rows_b = np.array([groups.rows(counts) for counts in drawn]).T
        if min(rows_a.min(), rows_b.min()) > 1:
            values = []
            for done, counts in enumerate(drawn, start=number * _REPEATS + 1):
                values.append(groups.distance(counts, counts).value)
                advance("curve", done, total)
            yield CurvePoint(share, float(rows_a.mean()), float(rows_b.mean()), *_mean_and_sd(values))
    rows = groups.rows(np.ones(groups.number, np.int64))
    yield CurvePoint(1.0, *rows, whole.value, None)


def _line(points: Sequence[CurvePoint]) -> tuple[float, float] | None:
    """The straight line through the distances over one by the number of rows: its value at 0, and its slope."""
    at = np.array([point.per_row for point in points])
    if len(np.unique(at)) < 2:
        return None
    slope, value = np.polyfit(at, [point.value for point in points], 1)
    return float(value), float(slope)


def _interval(
    groups: Grouping, value: float, draws: int, rng: np.random.Generator, advance: Advance
) -> tuple[float, float]:
    """Draws with replacement add the bias once more, so that their percentiles miss the truth: they are mirrored."""
    values = np.full(draws, np.nan)
    for draw in range(draws):
        counts = groups.drawn(rng)
        if min(groups.rows(counts)) > 1:
            values[draw] = groups.distance(counts, counts).value
        advance("interval", draw + 1, draws)
    low, high = interval_of(value, values)
    return max(0.0, 2 * value - high), max(0.0, 2 * value - low)


def _floor(groups: Grouping, rng: np.random.Generator, advance: Advance) -> Floor | None:
    """Both distances are of as many rows, so they have the same bias: what one is above the other has none.

    Its interval is that of a jackknife over blocks of groups: draws with replacement repeat rows, which adds so much
    bias to both that little can be seen of their difference.
    """
    splits = [groups.halves(rng) for _ in range(_SPLITS)]
    sizes, distances, variances = [], [], []
    for done, split in enumerate(splits, start=1):
        blocks = groups.blocks(split, _BLOCKS, rng)
        kept = [_without(split, blocks == block) for block in range(int(blocks.max()) + 1)]
        sizes.append(groups.sizes_of(split))
        if min(min(groups.sizes_of(part)) for part in kept) < 2:
            return None
        distances.append(groups.distances(split))
        without = np.diff([groups.distances(part) for part in kept])
        variances.append((len(kept) - 1) * without.var())
        advance("floor", done, len(splits))
    within, apart = np.array(distances).T
    above, far = float((apart - within).mean()), NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    error = float(np.sqrt(np.mean(variances)))
    rows_one, rows_other, rows_b = np.mean(sizes, axis=0).tolist()
    return Floor(
        *_mean_and_sd(within),
        *_mean_and_sd(apart),
        above=above,
        above_low=above - far * error,
        above_high=above + far * error,
        rows=(rows_one + rows_other) / 2,
        rows_compared=rows_b,
        splits=_SPLITS,
    )


def _without(split: Split, left_out: NDArray[np.bool_]) -> Split:
    one, other, alike = split
    return one * ~left_out, other * ~left_out, alike * ~left_out


def _mean_and_sd(values: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1))
