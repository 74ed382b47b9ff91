"""ITA of known colours, and that it moves with the light."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from skimage.color import rgb2lab

from marlin_sdk.evaluation.audit.skin import apparent_ita, cheek_pixels, ita_of, rgb_to_lab


def flat(*rgb: int) -> NDArray[np.uint8]:
    return np.tile(np.array(rgb, np.uint8), (50, 1))


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_lab_is_that_of_scikit_image(rgb: tuple[int, int, int]) -> None:
    pixel = np.array([rgb], np.uint8)
    assert rgb_to_lab(pixel)[0] == pytest.approx(rgb2lab(pixel[None])[0, 0], abs=0.05)


@pytest.mark.parametrize(
    ("rgb", "lightness", "yellow"), [((240, 205, 180), 84.29, 16.58), ((140, 95, 65), 44.24, 24.60)]
)
def test_angle_of_known_colours(rgb: tuple[int, int, int], lightness: float, yellow: float) -> None:
    lab = rgb_to_lab(np.array([rgb], np.uint8))[0]
    assert (lab[0], lab[2]) == (pytest.approx(lightness, abs=0.6), pytest.approx(yellow, abs=0.9))
    expected = np.degrees(np.arctan((lab[0] - 50) / lab[2]))
    assert ita_of(flat(*rgb)) == pytest.approx(expected)


def test_darker_light_gives_a_lower_angle_of_the_same_skin() -> None:
    pixels = flat(210, 170, 140)
    angles = [ita_of((pixels * share).astype(np.uint8)) for share in (1.0, 0.7, 0.4)]
    assert angles[0] is not None
    assert angles[1] is not None
    assert angles[2] is not None
    assert angles[0] > angles[1] > angles[2]


def test_clipped_and_bluish_pixels_have_no_angle() -> None:
    assert ita_of(flat(255, 255, 255)) is None
    assert ita_of(flat(0, 0, 0)) is None
    assert ita_of(flat(100, 120, 200)) is None
    assert ita_of(np.empty((0, 3), np.uint8)) is None


def test_cheeks_lie_beside_the_nose_and_above_the_mouth() -> None:
    crop = np.full((100, 100, 3), 20, np.uint8)
    crop[55:70, 22:38] = crop[55:70, 62:78] = (210, 170, 140)
    assert (cheek_pixels(crop) == (210, 170, 140)).all()
    assert apparent_ita(crop) == pytest.approx(ita_of(flat(210, 170, 140)))
