from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from marlin_sdk.errors import ConfigError, FeatureFileError
from marlin_sdk.evaluation.probe.head_file import FittedHeads, load_heads, save_heads
from marlin_sdk.evaluation.probe.heads import Head, HeadName, LinearHead, NeighbourHead, Training, fit_head
from marlin_sdk.evaluation.probe.samples import Pooling

ROWS, DIM = 120, 6
NO_ENDS = np.empty(0, np.int64)
COLUMN = 3  # of the feature that the numbers depend on


def drawn(classes: tuple[str, ...], *, seed: int = 0, folds: int = 3) -> Training:
    """Features that tell the class, or the number, with some noise."""
    random = np.random.default_rng(seed)
    features = (5 + random.standard_normal((ROWS, DIM)) * [1, 10, 0.1, 1, 1, 1]).astype(np.float32)
    values: NDArray[Any] = features[:, COLUMN].astype(np.float64) * 3 + 0.1 * random.standard_normal(ROWS)
    if classes:
        values = np.arange(ROWS) % len(classes)
        features[:, 0] += values * 1.5
    positions = np.arange(ROWS)
    parts = random.permutation(ROWS) % folds
    inner = [(positions[parts != fold], positions[parts == fold]) for fold in range(folds)]
    return Training(features, NO_ENDS, values, classes, inner)


def sequences(classes: tuple[str, ...]) -> Training:
    """Videos of 1 to 5 windows, one of which tells."""
    random = np.random.default_rng(1)
    pieces, values = [], []
    for index in range(ROWS):
        windows = random.standard_normal((1 + index % 5, DIM))
        value = index % 2 if classes else random.standard_normal()
        windows[random.integers(len(windows)), 0] = 6 * value - (3 if classes else 0)
        pieces.append(windows)
        values.append(value)
    rows = np.concatenate(pieces).astype(np.float32)
    positions = np.arange(ROWS)
    inner = [(positions[positions % 4 != 0], positions[positions % 4 == 0])]
    return Training(rows, np.cumsum([len(piece) for piece in pieces]), np.array(values), classes, inner)


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
def test_logistic_head_is_scikit_learns(classes: tuple[str, ...]) -> None:
    training = drawn(classes)
    head = fit_head("logistic", training)
    assert isinstance(head, LinearHead)
    scaler = StandardScaler().fit(training.features.astype(np.float64))
    theirs = LogisticRegression(C=head.penalty, max_iter=5000, tol=1e-8)
    theirs.fit(scaler.transform(training.features), training.values)
    expected = theirs.predict_proba(scaler.transform(training.features))
    np.testing.assert_allclose(head.scores(training.features, NO_ENDS), expected, atol=2e-3)


def test_penalty_is_chosen_on_the_inner_folds() -> None:
    """Noise is best left alone; a clear signal is not."""
    clear = drawn(("a", "b"))
    noise = replace(clear, features=np.random.default_rng(3).standard_normal((ROWS, DIM)).astype(np.float32))
    penalties = {
        name: fit_head("logistic", training).settings()["penalty"]
        for name, training in (("clear", clear), ("noise", noise))
    }
    assert penalties["noise"] < penalties["clear"]


def test_without_inner_folds_the_penalty_is_fixed_and_said() -> None:
    head = fit_head("logistic", replace(drawn(("a", "b")), inner=[]))
    assert head.settings()["penalty"] == 1.0
    assert "not chosen" in head.settings()["notes"][0]


@pytest.mark.parametrize("inner", [True, False])
def test_ridge_finds_the_number(inner: bool) -> None:
    training = drawn(())
    head = fit_head("ridge", training if inner else replace(training, inner=[]))
    found = head.scores(training.features, NO_ENDS)
    assert found.shape == (ROWS, 1)
    assert np.corrcoef(found[:, 0], training.values)[0, 1] > 0.99


def test_neighbours_are_scikit_learns() -> None:
    training = drawn(("a", "b", "c"))
    head = fit_head("knn", training)
    assert isinstance(head, NeighbourHead)
    rows = (training.features - head.mean) / head.scale
    theirs = KNeighborsClassifier(20, metric="cosine", weights=lambda distance: np.exp(-distance / 0.07))
    expected = theirs.fit(rows, training.values).predict_proba(rows)
    np.testing.assert_allclose(head.scores(training.features, NO_ENDS), expected, atol=1e-4)


def test_neighbours_of_few_videos_are_all_of_them() -> None:
    training = drawn(())
    few = replace(training, features=training.features[:3], values=np.array([1.0, 2.0, 3.0]), inner=[])
    found = fit_head("knn", few).scores(training.features, NO_ENDS)
    assert found.min() >= 1
    assert found.max() <= 3


@pytest.mark.parametrize("classes", [("a", "b"), ()])
def test_attentive_head_learns_which_window_matters(classes: tuple[str, ...]) -> None:
    training = sequences(classes)
    head = fit_head("attentive", training)
    found = head.scores(training.features, training.ends)
    if classes:
        assert (found.argmax(axis=1) == training.values).mean() > 0.9
        np.testing.assert_allclose(found.sum(axis=1), 1)
    else:
        assert np.corrcoef(found[:, 0], training.values)[0, 1] > 0.8
    again = fit_head("attentive", training).scores(training.features, training.ends)
    np.testing.assert_array_equal(found, again)  # the seed decides everything


def test_attentive_head_does_not_see_the_padding() -> None:
    """A video alone, and beside a longer one, is the same video."""
    training = sequences(("a", "b"))
    head = fit_head("attentive", training)
    together = head.scores(training.features, training.ends)
    alone = head.scores(training.features[:1], np.array([1]))
    np.testing.assert_allclose(alone[0], together[0], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "training", "message"),
    [
        ("svm", drawn(("a", "b")), "head is 'svm'; expected one of logistic, ridge, knn, attentive"),
        ("ridge", drawn(("a", "b")), "head 'ridge' cannot learn classes; use 'logistic'"),
        ("logistic", drawn(()), "head 'logistic' cannot learn numbers; use 'ridge'"),
        ("attentive", drawn(("a", "b")), "head 'attentive' takes pooling 'sequence'"),
        ("knn", sequences(("a", "b")), "head 'knn' takes pooling 'mean, mean"),
    ],
)
def test_heads_that_do_not_fit_say_so(name: HeadName, training: Training, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fit_head(name, training)


@pytest.mark.parametrize("name", ["logistic", "ridge", "knn", "attentive"])
def test_saved_head_predicts_the_same(name: HeadName, tmp_path: Path) -> None:
    training = sequences(("a", "b")) if name == "attentive" else drawn(() if name == "ridge" else ("a", "b"))
    head: Head = fit_head(name, training)
    pooling: Pooling = "sequence" if name == "attentive" else "mean"
    save_heads(tmp_path, FittedHeads({"x.y": head, "z": head}, name, pooling, DIM, "untrained:0", {"a": 1}))
    loaded = load_heads(tmp_path)
    assert list(loaded.heads) == ["x.y", "z"]
    assert (loaded.weights, loaded.identity, loaded.pooling) == ("untrained:0", {"a": 1}, pooling)
    np.testing.assert_array_equal(
        loaded.heads["z"].scores(training.features, training.ends), head.scores(training.features, training.ends)
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("head.json", b"{", "cannot be read"),
        ("head.json", b'{"format": 9}', "format 9; expected 1"),
        ("head.json", b"[" * 100_000, "cannot be read"),
        ("head.safetensors", b"\x80\x04rubbish", "cannot be read"),
        ("head.json", None, "holds no head.json"),
    ],
)
def test_damaged_heads_are_refused(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    save_heads(tmp_path, FittedHeads({"x": fit_head("knn", drawn(("a", "b")))}, "knn", "mean", DIM, "w"))
    (tmp_path / name).unlink()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FeatureFileError, match=message):
        load_heads(tmp_path)
