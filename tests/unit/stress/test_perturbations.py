"""Every perturbation leaves pictures as they are at strength 0, and changes them more and more."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.data import astronaut

from marlin_sdk.stress.perturbations import (
    PERTURBATIONS,
    Perturbation,
    change_contrast,
    change_gamma,
    occlude,
    rotate,
    rotate_boxes,
    shift_squares,
)

FACE = np.array([170.0, 70.0, 280.0, 200.0])
ON_FRAMES = [way for way in PERTURBATIONS if way.spoil is not None]


@pytest.fixture(scope="module")
def frame() -> NDArray[np.uint8]:
    return np.ascontiguousarray(astronaut()[:300, :400])


def spoilt(way: Perturbation, frame: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    assert way.spoil is not None
    return way.spoil(frame, strength, FACE)


@pytest.mark.parametrize("way", ON_FRAMES, ids=lambda way: way.name)
def test_strength_zero_is_the_frame(way: Perturbation, frame: NDArray[np.uint8]) -> None:
    before = frame.copy()
    assert np.array_equal(spoilt(way, frame, 0), before)
    for strength in way.strengths:
        result = spoilt(way, frame, strength)
        assert (result.dtype.name, result.shape) == ("uint8", frame.shape)
    assert np.array_equal(frame, before)


@pytest.mark.parametrize("way", ON_FRAMES, ids=lambda way: way.name)
def test_more_is_worse(way: Perturbation, frame: NDArray[np.uint8]) -> None:
    for sign in (-1, 1):
        errors = [
            float(np.abs(spoilt(way, frame, strength).astype(int) - frame).mean())
            for strength in sorted((s for s in (0, *way.strengths) if s * sign >= 0), key=abs)
        ]
        assert all(less < more for less, more in pairwise(errors))
    assert 4 <= len(way.strengths) <= 5


def test_gamma_darkens_above_zero_and_contrast_keeps_the_mean(frame: NDArray[np.uint8]) -> None:
    assert change_gamma(frame, 1).mean() < frame.mean() < change_gamma(frame, -1).mean()
    flat = change_contrast(frame, 0.7)
    assert flat.mean() == pytest.approx(frame.mean(), abs=0.6)
    assert flat.std() == pytest.approx(0.3 * frame.std(), rel=0.02)


def test_a_turned_point_is_where_its_box_is() -> None:
    centre = np.array([50.0, 50.0])
    for degrees in (10.0, 45.0, 90.0, -30.0):
        picture = np.zeros((100, 100, 3), np.uint8)
        picture[48:53, 73:78] = 255
        box = rotate_boxes(np.array([[73.0, 48.0, 78.0, 53.0]]), degrees, centre)[0]
        rows, columns = np.nonzero(rotate(picture, degrees, centre)[..., 0] > 127)
        found = columns.mean() + 0.5, rows.mean() + 0.5
        assert found == pytest.approx(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), abs=1.2)


@given(st.floats(0, 1), st.floats(-100, 100), st.floats(1, 500))
def test_squares_keep_their_size_and_move_by_the_share(share: float, left: float, side: float) -> None:
    square = np.array([[left, 0, left + side, side]])
    moved = shift_squares(square, share)
    assert moved[0, 2] - moved[0, 0] == pytest.approx(side)
    assert np.hypot(*(moved - square)[0, :2]) == pytest.approx(share * side, abs=1e-9)


def test_occlusion_covers_from_below() -> None:
    crops = np.full((2, 16, 32, 32, 3), 200, np.uint8)
    covered = occlude(crops, 0.25)
    assert (covered[..., :24, :, :] == 200).all()
    assert (covered[..., 24:, :, :] == 127).all()
    assert (crops == 200).all()
    assert np.array_equal(occlude(crops, 0), crops)
