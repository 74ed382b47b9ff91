"""The distance of two Gaussians: closed forms, other implementations, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.image.fid import FrechetInceptionDistance

from marlin_sdk.errors import ShapeError
from marlin_sdk.evaluation.frechet.distance import frechet_distance


def rows(seed: int, count: int = 60, dim: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    return random.standard_normal((count, dim)) @ random.standard_normal((dim, dim)) + random.standard_normal(dim)


def whitened(seed: int, count: int, scale: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Rows that have exactly this mean, and a diagonal covariance of these scales squared."""
    drawn = np.random.default_rng(seed).standard_normal((count, len(scale)))
    drawn -= drawn.mean(axis=0)
    made: np.ndarray = np.linalg.qr(drawn)[0] * np.sqrt(count - 1) * scale + mean
    return made


def by_root(a: np.ndarray, b: np.ndarray) -> float:
    """As it is defined, with a root of a matrix."""
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    return float(((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(first + second - 2 * root))


def test_closed_form_of_diagonal_gaussians() -> None:
    scales, means = np.array([[1.0, 2.0, 0.5], [3.0, 2.0, 1.5]]), np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 0.0]])
    found = frechet_distance(*(whitened(at, 40, scales[at], means[at]) for at in range(2)))
    assert found.means == pytest.approx(1 + 0 + 4)
    assert found.covariances == pytest.approx((3 - 1) ** 2 + 0 + (1.5 - 0.5) ** 2)
    assert found.value == found.means + found.covariances


def test_it_is_that_of_the_definition_with_a_root() -> None:
    a, b = rows(0), rows(1, 90)
    assert frechet_distance(a, b).value == pytest.approx(by_root(a, b), rel=1e-9)


def test_it_is_that_of_torchmetrics() -> None:
    """An independent library, on random features: its Fréchet Inception Distance of a network that changes nothing."""

    a, b = rows(2, 80, 24), rows(3, 70, 24)
    metric = FrechetInceptionDistance(torch.nn.Flatten(), input_img_size=(24, 1, 1), normalize=True)
    metric.set_dtype(torch.float64)
    for features, real in ((a, True), (b, False)):
        metric.update(torch.from_numpy(features)[..., None, None], real=real)
    assert frechet_distance(a, b).value == pytest.approx(float(metric.compute()), rel=1e-6)


def test_fewer_rows_than_dimensions_are_exact() -> None:
    """A factor of the covariance is smaller then, and says the same as the covariance itself."""
    a, b = rows(4, 8, 20), rows(5, 200, 20)
    first, second = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(second)
    root = vectors * np.sqrt(values) @ vectors.T
    common = np.sqrt(np.clip(np.linalg.eigvalsh(root @ first @ root), 0, None)).sum()
    expected = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * common
    assert frechet_distance(a, b).value == pytest.approx(float(expected), rel=1e-6)


@given(st.integers(0, 1000), st.integers(2, 30), st.integers(2, 30), st.integers(1, 12))
def test_it_is_a_distance(seed: int, first: int, second: int, dim: int) -> None:
    a, b = rows(seed, first, dim), rows(seed + 1, second, dim)
    there, back = frechet_distance(a, b), frechet_distance(b, a)
    assert there.value == pytest.approx(back.value, rel=1e-8, abs=1e-8)
    assert there.value >= 0
    assert frechet_distance(a, a).value == pytest.approx(0, abs=1e-9 * (1 + np.abs(a).max() ** 2 * dim * first))


@given(st.integers(0, 1000))
def test_an_offset_and_a_rotation_of_both_change_nothing(seed: int) -> None:
    a, b = rows(seed), rows(seed + 1)
    turn = np.linalg.qr(rows(seed + 2, 6))[0]
    moved = frechet_distance(a @ turn + 5, b @ turn + 5)
    assert moved.value == pytest.approx(frechet_distance(a, b).value, rel=1e-7)


@given(st.integers(0, 1000))
def test_counts_are_repeated_rows(seed: int) -> None:
    a, b = rows(seed, 20), rows(seed + 1)
    counts = np.random.default_rng(seed).integers(0, 4, 20)
    counts[:2] = 1
    repeated = frechet_distance(np.repeat(a, counts, axis=0), b)
    assert frechet_distance(a, b, counts_a=counts).value == pytest.approx(repeated.value, rel=1e-8)


@pytest.mark.parametrize(
    ("a", "message"),
    [
        (np.zeros(6), r"a has shape \(6,\)"),
        (np.zeros((5, 4)), "4 features a row, b 6"),
        (np.zeros((1, 6)), "1 rows; a covariance needs at least two"),
        (np.full((5, 6), np.nan), "NaN or infinity"),
    ],
)
def test_what_is_no_set_of_features_is_refused(a: np.ndarray, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        frechet_distance(a, rows(0))


def test_counts_of_another_length_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \(60,\)"):
        frechet_distance(rows(0), rows(1), counts_a=[1, 2])
