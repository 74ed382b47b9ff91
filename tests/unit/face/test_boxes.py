"""Overlap of boxes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from marlin_sdk.face.boxes import box_overlaps

corner = st.integers(-30, 30)
side = st.integers(1, 20)
boxes = st.lists(st.tuples(corner, corner, side, side), min_size=1, max_size=4).map(
    lambda rows: np.array([(x, y, x + w, y + h) for x, y, w, h in rows], dtype=np.float64)
)


def pixels(box: NDArray[np.float64]) -> set[tuple[int, int]]:
    x1, y1, x2, y2 = box.astype(int)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


@given(boxes, boxes)
def test_overlap_is_the_share_of_pixels_in_common(first: NDArray[np.float64], second: NDArray[np.float64]) -> None:
    expected = [[len(pixels(a) & pixels(b)) / len(pixels(a) | pixels(b)) for b in second] for a in first]
    np.testing.assert_allclose(box_overlaps(first, second), expected)


def test_no_boxes_give_no_overlaps() -> None:
    none, one = np.empty((0, 4)), np.array([[0.0, 0.0, 1.0, 1.0]])
    assert box_overlaps(none, one).shape == (0, 1)
    assert box_overlaps(one, none).shape == (1, 0)


def test_box_without_area_overlaps_nothing() -> None:
    point = np.array([[3.0, 3.0, 3.0, 3.0]])
    assert box_overlaps(point, point).tolist() == [[0.0]]
