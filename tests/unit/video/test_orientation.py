"""The display matrix: the same orientation as in FFmpeg's players."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from marlin_sdk.video.orientation import Orientation

PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (Orientation(), PICTURE),
        (Orientation(mirrored=True), np.fliplr(PICTURE)),
        (Orientation(upside_down=True), np.flipud(PICTURE)),
        (Orientation(mirrored=True, upside_down=True), np.rot90(PICTURE, 2)),
        (Orientation(transposed=True, upside_down=True), np.rot90(PICTURE, 1)),
        (Orientation(transposed=True, mirrored=True), np.rot90(PICTURE, 3)),
    ],
)
def test_rotation_and_mirroring_agree_with_numpy(shown: Orientation, expected: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(shown.apply(PICTURE), expected)


def test_the_eight_orientations_differ_and_lose_no_pixel() -> None:
    pictures = [Orientation(*flags).apply(PICTURE) for flags in itertools.product([False, True], repeat=3)]

    assert len({(picture.shape, picture.tobytes()) for picture in pictures}) == 8
    assert all(sorted(picture.ravel()) == sorted(PICTURE.ravel()) for picture in pictures)
