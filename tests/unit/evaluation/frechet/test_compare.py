"""The curve, the interval, the floor, and what is said of them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from marlin_sdk.errors import ConfigError, ShapeError
from marlin_sdk.evaluation.frechet.compare import frechet
from marlin_sdk.evaluation.frechet.grouping import Grouping
from marlin_sdk.evaluation.frechet.sets import FeatureSet


def people(
    seed: int, *, groups: int = 80, each: int = 5, dim: int = 8, shift: float = 0.0, scale: float = 1.0, name: str = "a"
) -> FeatureSet:
    """Windows of people who differ; half of the variance is between them. Its sd is `scale`, its mean `shift`."""
    random = np.random.default_rng(seed)
    between = np.repeat(random.standard_normal((groups, dim)), each, axis=0)
    within = random.standard_normal((groups * each, dim))
    of = np.repeat([f"{name}{number:03d}" for number in range(groups)], each)
    return FeatureSet(name, shift + scale * np.sqrt(0.5) * (between + within), of)


def truth(dim: int, shift: float, scale: float) -> float:
    return dim * (shift**2 + (scale - 1) ** 2)


def test_bias_falls_with_the_number_and_the_curve_leads_nearer_to_the_truth() -> None:
    expected, errors = truth(8, 0.3, 1.2), []
    for seed in range(6):
        found = frechet(people(seed), people(100 + seed, shift=0.3, scale=1.2, name="b"), draws=100, seed=seed)
        values = [point.value for point in found.curve]
        assert values[0] > values[3] > values[-1] == found.value
        assert found.extrapolated is not None
        errors.append((found.value - expected, found.extrapolated - expected))
    measured, extrapolated = np.mean(errors, axis=0)
    assert measured > 0.3
    assert abs(extrapolated) < measured / 2


def test_the_interval_holds_the_truth_where_percentiles_would_not() -> None:
    expected, hits = truth(8, 0.3, 1.2), 0
    for seed in range(10):
        found = frechet(
            people(seed, groups=60), people(50 + seed, groups=60, shift=0.3, scale=1.2, name="b"), draws=100
        )
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= expected <= found.high
        assert found.low < found.value
    assert hits >= 8


def test_sets_of_one_distribution_lie_on_the_floor() -> None:
    """However few the windows: the bias of both distances is the same."""
    above = []
    for seed in range(10):
        found = frechet(people(seed, groups=16, dim=40), people(200 + seed, groups=16, dim=40, name="b"), draws=100)
        assert found.floor is not None
        assert found.floor.above_low <= 0 <= found.floor.above_high
        above.append(found.floor.above / found.floor.value)
    assert abs(np.mean(above)) < 0.1


def test_what_differs_lies_above_the_floor() -> None:
    found = frechet(people(0), people(1, shift=1.0, name="b"), draws=100)
    assert found.floor is not None
    assert found.floor.above_low > 0
    assert found.floor.above == pytest.approx(found.floor.compared - found.floor.value)
    assert (found.floor.rows, found.floor.rows_compared) == (200, 200)


def test_a_set_is_at_no_distance_from_itself() -> None:
    """Its groups are drawn for both sides at once."""
    one = people(0)
    found = frechet(one, one, draws=100)
    assert found.value == pytest.approx(0, abs=1e-9)
    assert found.high == pytest.approx(0, abs=1e-9)
    assert [point.value for point in found.curve] == pytest.approx([0] * len(found.curve), abs=1e-9)
    assert found.a.rows_needed is None


def test_groups_are_drawn_and_not_rows() -> None:
    """The same windows, each written ten times, are as uncertain as before; rows would be surer."""
    a, b = people(0, groups=30, each=2), people(1, groups=30, each=2, shift=0.5, name="b")
    often = [FeatureSet(s.name, np.repeat(s.features, 10, axis=0), np.repeat(s.groups, 10)) for s in (a, b)]
    once, repeated = frechet(a, b, draws=200), frechet(*often, draws=200)
    assert once.low is not None
    assert once.high is not None
    assert repeated.low is not None
    assert repeated.high is not None
    assert repeated.high - repeated.low == pytest.approx(once.high - once.low, rel=0.2)
    rows = [FeatureSet(s.name, s.features, np.array([f"{s.name}{n}" for n in range(len(s))])) for s in often]
    surer = frechet(*rows, draws=100)
    assert surer.low is not None
    assert surer.high is not None
    assert surer.high - surer.low < 0.7 * (once.high - once.low)


def test_draws_take_whole_groups_of_both_sets() -> None:
    a, b = people(0, groups=6), people(1, groups=4, name="b")
    groups = Grouping(a, FeatureSet("b", np.concatenate([b.features, a.features]), np.append(b.groups, a.groups)))
    counts = groups.drawn(np.random.default_rng(0))
    assert (groups.number, counts.sum()) == (10, 10)
    assert groups.rows(counts) == (30, 50)  # those of both sets count in both
    one, other, alike = groups.halves(np.random.default_rng(1))
    assert one.sum() == other.sum() == 3
    assert not (one & other).any()
    assert groups.sizes_of((one, other, alike)) == (15, 15, 15)
    assert not (alike & one).any()
    assert groups.some(0.5, np.random.default_rng(2)).sum() == 5


def test_too_few_windows_are_said() -> None:
    found = frechet(people(0, groups=6, dim=50), people(1, groups=40, dim=50, shift=0.3, name="b"), draws=100)
    text = "\n".join(found.notes)
    assert "A has 30 windows of 50 dimensions: its covariance has at most 29 of 50 directions" in text
    assert "B has" not in text
    assert "6 groups are few" in text
    assert (found.low, found.high) == (None, None)
    assert "6 groups fill only some of 50 dimensions" in text


def test_how_many_it_takes_is_said_and_is_true() -> None:
    few = frechet(people(0, groups=20), people(1, groups=20, shift=1.0, scale=2.0, name="b"), draws=100)
    assert few.a.rows_needed is not None
    assert few.a.rows_needed > few.a.rows
    assert any(f"about {few.a.rows_needed:,} of A" in note for note in few.notes)
    many = few.a.rows_needed // 5
    enough = frechet(people(0, groups=many), people(1, groups=many, shift=1.0, scale=2.0, name="b"), draws=100)
    assert enough.extrapolated is not None
    assert enough.value - enough.extrapolated < 0.2 * enough.extrapolated


def test_no_difference_is_said() -> None:
    found = frechet(people(0), people(1, name="b"), draws=100)
    assert found.low == 0
    assert not found.is_apart
    assert found.a.rows_needed is None
    assert any(note.startswith("the distance cannot be told from none") for note in found.notes)


@pytest.mark.parametrize(("groups", "said"), [(1, "nothing to draw from"), (3, "3 groups are too few for a curve")])
def test_few_groups_have_no_curve(groups: int, said: str) -> None:
    found = frechet(people(0, groups=groups, each=20, dim=2), people(1, dim=2, name="b"), draws=100)
    assert (found.curve, found.extrapolated, found.floor, found.a.rows_needed) == ((), None, None, None)
    assert (found.low is None) == (groups == 1)
    assert any(said in note for note in found.notes)


def test_the_same_seed_gives_the_same() -> None:
    a, b = people(0, groups=10), people(1, groups=10, name="b")
    assert frechet(a, b, draws=100, seed=3) == frechet(a, b, draws=100, seed=3)
    assert frechet(a, b, draws=100, seed=3) != frechet(a, b, draws=100, seed=4)


def test_table_and_json_hold_all_of_it() -> None:
    stages = set()
    a = people(0, groups=30)
    found = frechet(a, people(1, groups=30, name="b"), draws=100, progress=lambda stage, done, total: stages.add(stage))
    values = json.loads(json.dumps(found.to_json()))
    assert (values["value"], values["a"]["rows"], values["confidence"]) == (found.value, 150, 0.95)
    assert [point["share"] for point in values["curve"]] == [0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]
    table = found.table()
    for words in (
        "150 windows of 30 groups",
        "without bias, by the curve",
        "floor: two halves of A",
        "above the floor",
    ):
        assert words in table
    assert table.count("\n100% ") == 1
    assert stages == {"curve", "interval", "floor"}


def test_sets_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ConfigError, match="windows of 8 features, b windows of 9"):
        frechet(people(0), people(1, dim=9, name="b"))
    with pytest.raises(ConfigError, match="50 draws are too few"):
        frechet(people(0), people(1), draws=50)
    with pytest.raises(ConfigError, match="a has 5 windows, too few for a distance of distributions"):
        people(0, groups=1)
    with pytest.raises(ShapeError, match="hold NaN"):
        FeatureSet("a", np.full((20, 3), np.nan), np.array(["g"] * 20))
    with pytest.raises(ShapeError, match="groups of"):
        FeatureSet("a", np.zeros((20, 3)), np.array(["g"] * 19))
