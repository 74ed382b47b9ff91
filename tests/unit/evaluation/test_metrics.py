"""Every metric equals scikit-learn's, with any sample weights and with ties."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.metrics import METRICS, find_metrics, scorer
from marlin_sdk.evaluation.predictions import Predictions


def measured(y_true: Any, scores: dict[str, Any], weights: NDArray[Any], names: Any = None) -> dict[str, NDArray[Any]]:
    """Metrics with weights by row [N, B]."""
    rows = len(weights)
    made = Predictions.of(id=range(rows), y_true=y_true, scores=scores)
    return scorer(made, np.arange(rows), rows, find_metrics(made.task, names))(weights)


def sk_eer(y_true: NDArray[Any], scores: NDArray[Any], weight: NDArray[Any]) -> float:
    """The crossing of scikit-learn's ROC with the diagonal, on a fine interpolation between its points."""
    false, true, _ = sk.roc_curve(y_true, scores, sample_weight=weight, drop_intermediate=False)
    gap = 1 - true - false  # falls from 1 to -1
    at = int(np.argmax(gap <= 0))
    share = gap[at - 1] / (gap[at - 1] - gap[at])
    return float(false[at - 1] + share * (false[at] - false[at - 1]))


@st.composite
def weighted(draw: st.DrawFn) -> tuple[np.random.Generator, int, int, NDArray[np.float64]]:
    """A generator, a number of rows, how many distinct scores they have, and weights [N, 3], some of them zero."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows, distinct = draw(st.integers(2, 60)), draw(st.sampled_from([2, 3, 10, 10_000]))
    weights = rng.integers(0, 4, (rows, 3)).astype(np.float64)
    weights[:, 2] = rng.random(rows) + 0.1
    weights[:, 1] = 1
    return rng, rows, distinct, weights


@settings(max_examples=150, deadline=None)
@given(weighted())
def test_binary_equals_scikit_learn(case: tuple[np.random.Generator, int, int, NDArray[np.float64]]) -> None:
    rng, rows, distinct, weights = case
    scores = rng.integers(0, distinct, rows) / (distinct - 1)
    y_true = rng.integers(0, 2, rows)
    values = measured(y_true, {"1": scores}, weights)
    for column, weight in enumerate(weights.T):
        got = {name: value[column] for name, value in values.items()}
        positive = weight @ y_true
        if not weight.any():
            assert all(np.isnan(value) for value in got.values())
            continue
        said = scores >= 0.5
        settings_ = {"sample_weight": weight}
        assert got["accuracy"] == pytest.approx(sk.accuracy_score(y_true, said, **settings_))
        if positive or weight @ said:
            assert got["f1"] == pytest.approx(sk.f1_score(y_true, said, zero_division=0, **settings_))
        else:
            assert np.isnan(got["f1"])
        if len(set(y_true[weight > 0])) < 2:
            assert np.isnan(got["auc"])
            assert np.isnan(got["eer"])
            assert np.isnan(got["average_precision"]) == (positive == 0)
            continue
        assert got["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y_true, said, **settings_))
        macro = sk.f1_score(y_true, said, average="macro", labels=[0, 1], zero_division=np.nan, **settings_)
        assert got["f1_macro"] == pytest.approx(macro)
        assert got["auc"] == pytest.approx(sk.roc_auc_score(y_true, scores, **settings_))
        assert got["average_precision"] == pytest.approx(sk.average_precision_score(y_true, scores, **settings_))
        assert got["eer"] == pytest.approx(sk_eer(y_true, scores, weight), abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(weighted(), st.integers(2, 5))
def test_classes_equal_scikit_learn(
    case: tuple[np.random.Generator, int, int, NDArray[np.float64]], classes: int
) -> None:
    rng, rows, distinct, weights = case
    rows += classes
    weights = np.concatenate([np.ones((classes, 3)), weights])
    y_true = np.concatenate([np.arange(classes), rng.integers(0, classes, rows - classes)])
    scores = rng.integers(0, distinct, (rows, classes)) / (distinct - 1)
    values = measured(y_true, {str(c): scores[:, c] for c in range(classes)}, weights)
    said, hot = scores.argmax(axis=1), np.eye(classes, dtype=int)[y_true]
    for column, weight in enumerate(weights.T):
        got = {name: value[column] for name, value in values.items()}
        settings_ = {"sample_weight": weight}
        assert got["accuracy"] == got["f1_micro"] == pytest.approx(sk.accuracy_score(y_true, said, **settings_))
        assert got["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y_true, said, **settings_))
        assert got["f1_macro"] == pytest.approx(sk.f1_score(y_true, said, average="macro", **settings_))
        assert got["f1_micro"] == pytest.approx(sk.f1_score(y_true, said, average="micro", **settings_))
        for average in ("macro", "micro"):
            auc = sk.roc_auc_score(hot, scores, average=average, **settings_)
            assert got[f"auc_{average}"] == pytest.approx(auc)
        precision = sk.average_precision_score(hot, scores, average="macro", **settings_)
        assert got["average_precision"] == pytest.approx(precision)


@settings(max_examples=60, deadline=None)
@given(weighted(), st.sampled_from([1e-3, 1.0, 1e6]), st.sampled_from([0.0, -50.0]))
def test_regression_equals_numpy_and_scikit_learn(
    case: tuple[np.random.Generator, int, int, NDArray[np.float64]], scale: float, shift: float
) -> None:
    rng, rows, _, weights = case
    y_true = (rng.standard_normal(rows) + shift) * scale
    predicted = y_true + rng.standard_normal(rows) * scale
    values = measured(y_true, {"value": predicted}, weights)
    for column, weight in enumerate(weights.T):
        if np.count_nonzero(weight) < 3:
            continue
        covariance = np.cov(y_true, predicted, aweights=weight, ddof=0)
        means = np.average(y_true, weights=weight), np.average(predicted, weights=weight)
        ccc = 2 * covariance[0, 1] / (np.trace(covariance) + (means[0] - means[1]) ** 2)
        pearson = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        assert values["ccc"][column] == pytest.approx(ccc, rel=1e-6, abs=1e-9)
        assert values["pearson"][column] == pytest.approx(pearson, rel=1e-6, abs=1e-9)
        mae = sk.mean_absolute_error(y_true, predicted, sample_weight=weight)
        assert values["mae"][column] == pytest.approx(mae)


def test_published_example_of_concordance() -> None:
    """Lin's coefficient of y = x + 1 for x = 1..5: 2·2 / (2 + 2 + 1)."""
    values = measured([1.0, 2, 3, 4, 5], {"value": [2.0, 3, 4, 5, 6]}, np.ones((5, 1)))
    assert (values["ccc"][0], values["pearson"][0], values["mae"][0]) == pytest.approx((0.8, 1.0, 1.0))


def test_constants_have_no_correlation_and_no_concordance_with_themselves() -> None:
    same = measured([2.0, 2.0], {"value": [2.0, 2.0]}, np.ones((2, 1)))
    assert np.isnan(same["pearson"][0])
    assert np.isnan(same["ccc"][0])
    constant = measured([0.1, 0.2, 0.4], {"value": [0.3, 0.3, 0.3]}, np.ones((3, 1)))
    assert np.isnan(constant["pearson"][0])
    assert constant["ccc"][0] == pytest.approx(0)


def test_class_without_a_row_is_left_out_of_the_mean() -> None:
    scores = {"a": [0.8, 0.2, 0.6], "b": [0.2, 0.8, 0.3], "c": [0.0, 0.0, 0.1]}
    values = measured(["a", "b", "a"], scores, np.ones((3, 1)))
    assert values["auc_macro"][0] == values["balanced_accuracy"][0] == values["f1_macro"][0] == 1.0


def test_large_ranking_in_single_precision_is_as_in_double() -> None:
    rng = np.random.default_rng(0)
    y_true = rng.random(100_000) < 0.4
    scores = np.clip(rng.normal(0.3 + 0.2 * y_true, 0.2), 0, 1).astype(np.float32)
    weights = rng.poisson(1, (100_000, 4))
    single = measured(y_true, {"true": scores}, weights.astype(np.float32), ["auc", "ap", "eer"])
    double = measured(y_true, {"true": scores}, weights.astype(np.float64), ["auc", "ap", "eer"])
    for name in single:
        np.testing.assert_allclose(single[name], double[name], rtol=2e-6)


def test_metric_of_another_task_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"\['auc'\] are not defined .*'regression'.*'ccc', 'pearson', 'mae'"):
        find_metrics("regression", ["auc", "mae"])
    assert find_metrics("classes", ["WAR", "uar", "accuracy"]) == ("accuracy", "balanced_accuracy")
    assert set(METRICS) == {"binary", "classes", "regression"}


def test_scikit_learn_gives_no_warning_that_this_hides() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = measured([1, 1], {"1": [0.2, 0.3]}, np.array([[1.0, 0.0], [1.0, 0.0]]))
    assert np.isnan(values["auc"]).all()
    assert values["accuracy"][0] == 0
    assert np.isnan(values["accuracy"][1])
