"""Squares in the reference's convention, and the pixels cut for them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from marlin_sdk.face.cropping import crop_square, square_box

coordinate = st.integers(-4000, 16000).map(lambda eighths: eighths / 8)
length = st.integers(1, 7200).map(lambda eighths: eighths / 8)


def by_hand(frame: NDArray[np.uint8], square: NDArray[np.int64], size_px: int) -> NDArray[np.float64]:
    """Zero padding and bilinear sampling at pixel centres, the edge repeated; pixel by pixel."""
    x1, y1, x2, y2 = square.tolist()
    height, width = frame.shape[:2]
    cut = np.zeros((y2 - y1, x2 - x1, 3))
    for y in range(y1, y2):
        for x in range(x1, x2):
            if 0 <= y < height and 0 <= x < width:
                cut[y - y1, x - x1] = frame[y, x]
    side = x2 - x1
    place = np.clip((np.arange(size_px) + 0.5) * side / size_px - 0.5, 0, side - 1)
    low = np.floor(place).astype(int)
    high, share = np.minimum(low + 1, side - 1), place - low
    rows = cut[low] * (1 - share)[:, None, None] + cut[high] * share[:, None, None]
    mixed: NDArray[np.float64] = rows[:, low] * (1 - share)[None, :, None] + rows[:, high] * share[None, :, None]
    return mixed


@given(coordinate, coordinate, length, length)
def test_square_lies_around_the_centre_of_the_box_and_holds_its_longer_side(
    x: float, y: float, w: float, h: float
) -> None:
    x1, y1, x2, y2 = square_box(np.array([x, y, x + w, y + h])).tolist()
    assert x2 - x1 == y2 - y1 == max(2, 2 * math.floor(max(w, h) / 2))
    assert abs((x1 + x2) / 2 - (x + w / 2)) < 1
    assert abs((y1 + y2) / 2 - (y + h / 2)) < 1


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ((10.0, 20.0, 30.0, 50.0), (5, 20, 35, 50)),  # the longer side decides
        ((10.9, 20.9, 31.9, 41.9), (11, 21, 31, 41)),  # centres 21.4, 31.4 and half a side of 10.5, rounded down
        ((-9.0, -4.0, 4.0, 3.0), (-8, -6, 4, 6)),  # a centre of -2.5 is rounded towards zero
        ((7.0, 7.0, 7.5, 7.5), (6, 6, 8, 8)),  # at least two pixels
    ],
)
def test_square_is_rounded_as_the_reference_does(box: tuple[float, ...], square: tuple[int, ...]) -> None:
    assert tuple(square_box(np.array(box))) == square


@given(st.integers(-30, 40), st.integers(-30, 40), st.integers(1, 25), st.integers(0, 5), st.sampled_from([8, 24, 32]))
def test_crop_agrees_with_a_pixel_by_pixel_one(x: int, y: int, half: int, seed: int, size_px: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (23, 31, 3), dtype=np.uint8)
    square = np.array([x - half, y - half, x + half, y + half])
    crop = crop_square(frame, square, size_px)
    assert crop.shape == (size_px, size_px, 3)
    # OpenCV interpolates in fixed point, with weights of 1/2048.
    assert np.abs(crop - by_hand(frame, square, size_px)).max() <= 1.0


def test_area_beyond_the_border_is_black() -> None:
    frame = np.full((40, 40, 3), 200, dtype=np.uint8)
    crop = crop_square(frame, np.array([-20, 20, 20, 60]), 40)
    assert (crop[:20, 20:] == 200).all()
    assert not crop[:, :20].any()
    assert not crop[20:].any()


def test_square_off_the_frame_is_all_black() -> None:
    frame = np.full((10, 10, 3), 200, dtype=np.uint8)
    for square in ([20, 0, 30, 10], [-30, -30, -10, -10]):
        assert not crop_square(frame, np.array(square), 16).any()


def test_crop_of_its_own_size_is_a_copy_of_the_pixels() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    crop = crop_square(frame, np.array([8, 0, 40, 32]), 32)
    np.testing.assert_array_equal(crop, frame[:, 8:40])
    before = frame.copy()
    crop[:] = 0
    np.testing.assert_array_equal(frame, before)  # a row's pixels are its own
