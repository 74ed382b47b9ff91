"""Which tokens belong to which region, for landmarks in known places."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import FACE_TEMPLATE

from marlin_sdk import ShapeError
from marlin_sdk.config import REGION_POOLS
from marlin_sdk.face.regions.tokens import region_tokens

UPRIGHT = FACE_TEMPLATE.astype(np.float64) * 2  # in a crop of 224x224


def members(bits: NDArray[np.uint8], region: str) -> NDArray[np.bool_]:
    return np.asarray((bits >> REGION_POOLS.index(region)) & 1, dtype=np.bool_)


def test_regions_lie_around_their_landmarks() -> None:
    bits = region_tokens(UPRIGHT[None], 224, 16)
    assert bits.shape == (1, 14, 14)
    assert bits.dtype == np.uint8
    for region, points in {"eyes": (0, 1), "nose": (2,), "mouth": (3, 4)}.items():
        for point in points:
            column, row = (UPRIGHT[point] // 16).astype(int)
            assert members(bits, region)[0, row, column]
    counts = {region: int(members(bits, region).sum()) for region in REGION_POOLS}
    assert min(counts.values()) >= 6
    rows = {region: np.nonzero(members(bits, region)[0])[0].mean() for region in REGION_POOLS}
    assert rows["eyes"] < rows["nose"] < rows["mouth"]


def test_skin_is_what_touches_no_other_region() -> None:
    bits = region_tokens(UPRIGHT[None], 224, 16)
    others = members(bits, "eyes") | members(bits, "nose") | members(bits, "mouth")
    assert not (members(bits, "skin") & others).any()
    assert members(bits, "skin").sum() > others.sum() / 2  # forehead, cheeks, chin


def test_each_slice_has_its_own_landmarks() -> None:
    moved = UPRIGHT + np.array([16.0, 32.0])
    bits = region_tokens(np.stack([UPRIGHT, moved]), 224, 16)
    np.testing.assert_array_equal(bits[0], region_tokens(UPRIGHT[None], 224, 16)[0])
    np.testing.assert_array_equal(bits[1], region_tokens(moved[None], 224, 16)[0])
    np.testing.assert_array_equal(members(bits, "mouth")[1, 2:, 1:], members(bits, "mouth")[0, :-2, :-1])


def test_region_beyond_the_crop_is_the_nearest_token() -> None:
    low = UPRIGHT.copy()
    low[3:] += [0, 400]  # the mouth, below the crop
    bits = region_tokens(np.stack([low, low + np.array([16.0, 0])]), 224, 16)
    found = [list(zip(*np.nonzero(one), strict=True)) for one in members(bits, "mouth")]
    column = int(low[3:, 0].mean() // 16)
    assert found == [[(13, column)], [(13, column + 1)]]


def test_every_region_has_a_token_in_any_grid() -> None:
    for patch_px in (224, 112, 56):
        for scale in (0.001, 1.0, 30.0):
            bits = region_tokens((UPRIGHT * scale)[None], 224, patch_px)
            assert np.bitwise_or.reduce(bits, axis=None) == 15


def test_landmarks_must_be_finite() -> None:
    with pytest.raises(ShapeError, match="five finite points"):
        region_tokens(np.full((1, 5, 2), np.nan), 224, 16)
