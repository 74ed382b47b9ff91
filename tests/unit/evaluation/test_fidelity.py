from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from sklearn.neighbors import NearestNeighbors

from marlin_sdk.errors import ShapeError
from marlin_sdk.evaluation.fidelity import fidelity


def windows(seed: int = 0, *, videos: int = 6, each: int = 5, dim: int = 7) -> tuple[np.ndarray, np.ndarray]:
    """Features that share much, differ between videos, and a little within."""
    random = np.random.default_rng(seed)
    names = np.repeat(np.arange(videos), each)
    shared, own = 100 * random.standard_normal(dim), random.standard_normal((videos, dim))
    return shared + own[names] + 0.1 * random.standard_normal((len(names), dim)), names


def test_the_same_features_agree_in_everything() -> None:
    rows, names = windows()
    found = fidelity(rows, rows, videos=names)
    assert (found.r2_within, found.r2_across, found.neighbours) == (1, 1, 1)
    assert (found.windows, found.videos) == (30, 6)


def test_a_shared_offset_is_no_error() -> None:
    rows, names = windows()
    found = fidelity(rows + 3, rows, videos=names)
    assert found.r2_within == pytest.approx(1)
    assert found.r2_across == pytest.approx(1)


def test_cosine_hides_what_r2_shows() -> None:
    """Features of which nothing within a video is left."""
    rows, names = windows()
    means = np.stack([rows[names == name].mean(axis=0) for name in names])
    found = fidelity(means, rows, videos=names)
    assert found.cosine > 0.9999
    assert found.r2_within == pytest.approx(0)
    assert found.r2_across == pytest.approx(1)
    assert found.neighbours is not None
    assert found.neighbours < 0.7


@given(seed=st.integers(0, 100), noise=st.floats(0.01, 3))
def test_r2_and_neighbours_are_scikit_learns(seed: int, noise: float) -> None:
    rows, names = windows(seed)
    other = rows + noise * np.random.default_rng(seed + 1).standard_normal(rows.shape)
    found = fidelity(other, rows, videos=names)
    centred = [
        np.concatenate([x[names == name] - x[names == name].mean(axis=0) for name in range(6)]) for x in (rows, other)
    ]
    expected = r2_score(centred[0].ravel(), centred[1].ravel())
    # theirs divides by the variance about the mean of all values, which is 0 here
    assert found.r2_within == pytest.approx(expected, abs=1e-6)
    nearest = [NearestNeighbors(n_neighbors=2).fit(x).kneighbors(x)[1][:, 1] for x in (rows, other)]
    assert found.neighbours == pytest.approx(float((nearest[0] == nearest[1]).mean()))


def test_what_cannot_be_said_is_none() -> None:
    rows, _ = windows(videos=1, each=2)
    found = fidelity(rows, rows)
    assert found.r2_across is None
    assert found.neighbours is None
    assert fidelity(rows[:1], rows[:1]).r2_within is None


def test_vectors_of_several_slices_are_joined() -> None:
    rows, names = windows(dim=12)
    assert fidelity(rows.reshape(30, 3, 4), rows.reshape(30, 3, 4), videos=names).r2_within == 1


@pytest.mark.parametrize(
    ("features", "reference", "videos", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 4)), None, r"shape \(3, 2\) and \(3, 4\)"),
        (np.zeros((0, 2)), np.zeros((0, 2)), None, "N > 0"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), None, "NaN"),
        (np.zeros((3, 2)), np.zeros((3, 2)), [1, 2], r"videos has shape \(2,\); expected \(3,\)"),
    ],
)
def test_features_that_cannot_be_compared(
    features: np.ndarray, reference: np.ndarray, videos: list[int] | None, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        fidelity(features, reference, videos=videos)
