"""Intervals: they cover what they say, and those over rows do not; corrections of p-values."""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.corrections import benjamini_hochberg, correct, holm, p_value
from marlin_sdk.evaluation.intervals import Interval, check_interval, draw_groups, interval_of, leave_one_out
from marlin_sdk.evaluation.metrics import scorer
from marlin_sdk.evaluation.predictions import Predictions

SIMULATIONS, DRAWS, GROUPS, ROWS = 300, 400, 60, 12
# Some people are easier than others: a score is ±d + noise with d ~ N(1, 1) by group and noise ~ N(0, 1).
TRUE = {"accuracy": 0.7602, "auc": 0.8413}  # Φ(1/√2) and Φ(1)


@cache
def coverage(unit: Literal["groups", "rows"], interval: Interval = "percentile") -> dict[str, float]:
    """The share of simulations in which the interval holds the truth."""
    rng = np.random.default_rng(1)
    group = np.repeat(np.arange(GROUPS), ROWS)
    y_true = np.tile([0, 1], GROUPS * ROWS // 2)
    hits = dict.fromkeys(TRUE, 0)
    for number in range(SIMULATIONS):
        signal = (2 * y_true - 1) * rng.normal(1, 1, GROUPS)[group] + rng.standard_normal(len(group))
        made = Predictions.of(id=range(len(group)), y_true=y_true, scores={"1": 1 / (1 + np.exp(-signal))})
        units, count = (group, GROUPS) if unit == "groups" else (np.arange(len(group)), len(group))
        score = scorer(made, units, count, list(TRUE))
        value = score(np.ones((count, 1)))
        (draws,) = (score(block) for block in draw_groups(count, DRAWS, number))
        without = next(score(block) for block in leave_one_out(count)) if interval == "bca" else {}
        for name, truth in TRUE.items():
            low, high = interval_of(float(value[name][0]), draws[name], without.get(name))
            hits[name] += low <= truth <= high
    return {name: count / SIMULATIONS for name, count in hits.items()}


@pytest.mark.parametrize("interval", ["percentile", "bca"])
@pytest.mark.parametrize("metric", list(TRUE))
def test_interval_over_groups_covers_the_truth_as_often_as_it_says(interval: Interval, metric: str) -> None:
    assert 0.92 <= coverage("groups", interval)[metric] <= 0.98


@pytest.mark.parametrize("metric", list(TRUE))
def test_interval_over_rows_is_too_narrow(metric: str) -> None:
    assert coverage("rows")[metric] < 0.85


def test_draws_are_of_as_many_groups_the_same_by_seed_and_whatever_the_number() -> None:
    many = np.concatenate(list(draw_groups(7, 1500, 3)), axis=1)
    assert many.shape == (7, 1500)
    assert (many.sum(axis=0) == 7).all()
    np.testing.assert_array_equal(many[:, :600], np.concatenate(list(draw_groups(7, 600, 3)), axis=1))
    assert (many[:, :600] != np.concatenate(list(draw_groups(7, 600, 4)), axis=1)).any()
    assert many.mean() == 1
    assert many.var() == pytest.approx(6 / 7, rel=0.05)  # multinomial


def test_leaving_out_each_group_once() -> None:
    weights = np.concatenate(list(leave_one_out(1100)), axis=1)
    np.testing.assert_array_equal(weights, 1 - np.eye(1100))


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_interval_is_that_of_scipy(method: Interval) -> None:
    """The mean of a skewed sample; SciPy draws for itself, so the ends differ by the error of drawing."""
    values = np.random.default_rng(0).exponential(size=40)
    weights = np.concatenate(list(draw_groups(40, 20_000, 0)), axis=1)
    without = values.sum() - values
    mine = interval_of(values.mean(), values @ weights / 40, without / 39 if method == "bca" else None)
    scipy_method: Literal["percentile", "BCa"] = "BCa" if method == "bca" else "percentile"
    theirs = bootstrap((values,), np.mean, n_resamples=20_000, method=scipy_method, rng=np.random.default_rng(1))
    assert mine == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)


def test_auc_without_a_group_is_that_of_the_other_rows() -> None:
    rng = np.random.default_rng(0)
    group, y_true, scores = rng.integers(0, 9, 80), rng.integers(0, 2, 80), rng.integers(0, 6, 80) / 5
    made = Predictions.of(id=range(80), y_true=y_true, scores={"1": scores})
    (weights,) = leave_one_out(9, np.float64)
    got = scorer(made, group, 9, ["auc"])(weights)["auc"]
    assert got == pytest.approx([roc_auc_score(y_true[group != g], scores[group != g]) for g in range(9)])


def test_constant_draws_have_an_interval_of_no_width_and_undefined_ones_are_left_out() -> None:
    assert interval_of(1.0, np.ones(200), np.ones(5)) == (1.0, 1.0)
    draws = np.concatenate([np.arange(101.0), np.full(50, np.nan)])
    assert interval_of(50.0, draws) == pytest.approx((2.5, 97.5))
    with pytest.raises(ValueError, match="no draw"):
        interval_of(0.0, np.full(3, np.nan))


def test_value_beyond_all_draws_has_a_finite_bca_interval() -> None:
    low, high = interval_of(2.0, np.linspace(0, 1, 200), np.array([1.0, 2.0, 4.0]))
    assert 0 <= low <= high <= 1


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match="'normal' is unknown; known are 'percentile' and 'bca'"):
        check_interval("normal", 2000)
    with pytest.raises(ConfigError, match="10 draws are too few"):
        check_interval("bca", 10)


def test_p_value_is_where_the_interval_meets_zero() -> None:
    draws = np.random.default_rng(0).normal(1, 1, 1999)
    p = p_value(draws)
    assert p == 2 * ((draws <= 0).sum() + 1) / 2000
    assert np.quantile(draws, p / 2 - 0.001) < 0 < np.quantile(draws, p / 2 + 0.001)
    assert p_value(-draws) == p
    assert p_value(np.zeros(100)) == 1
    assert p_value(np.array([1.0] * 99 + [np.nan])) == 0.02


def test_p_values_of_no_difference_are_uniform() -> None:
    rng = np.random.default_rng(0)
    weights = np.concatenate(list(draw_groups(50, 400, 0)), axis=1)
    differences = rng.standard_normal((1000, 50))
    p = np.array([p_value(draws) for draws in differences @ weights / 50])
    assert 0.03 < (p < 0.05).mean() < 0.08
    assert 0.45 < (p < 0.5).mean() < 0.55


def test_corrections_have_known_values() -> None:
    p = [0.01, 0.04, 0.03, 0.005]
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # R: p.adjust(p, "holm")
    assert benjamini_hochberg(p) == pytest.approx([0.02, 0.04, 0.04, 0.02])  # R: p.adjust(p, "BH")
    assert correct([0.02] * 9)[1] == "holm"
    assert correct([0.02] * 9)[0] == pytest.approx([0.18] * 9)
    assert correct([0.02] * 10)[1] == "benjamini-hochberg"
    assert correct([0.02] * 10)[0] == pytest.approx([0.02] * 10)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_corrections_raise_and_keep_the_order(p: list[float]) -> None:
    values: NDArray[np.float64] = np.array(p)
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert (adjusted >= values - 1e-12).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[np.argsort(values)]) >= -1e-12).all()
    assert (holm(p) >= benjamini_hochberg(p) - 1e-12).all()
