"""What tells a cut from motion, light and flashes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from marlin_sdk.face.continuity import FrameSketch, is_abrupt

BOX = np.array([40.0, 30.0, 120.0, 110.0])


def textured(seed: int, *, height: int = 144, width: int = 200) -> NDArray[np.uint8]:
    """Smooth blobs, uint8 (height, width, 3)."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    rgb = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.array(rgb, dtype=np.uint8)


def lit(rgb: NDArray[np.uint8], gain: float, offset: float = 0.0) -> NDArray[np.uint8]:
    return np.array(np.clip(rgb * gain + offset, 0, 255), dtype=np.uint8)


@pytest.mark.parametrize(
    ("before", "here", "after", "abrupt"),
    [
        (1.0, 6.0, 1.5, True),
        (1.0, 6.0, 2.5, False),  # motion that begins
        (2.5, 6.0, 1.0, False),
        (1.0, 6.0, 6.0, False),  # a flash: it goes as it came
        (None, 6.0, None, True),
        (None, 6.0, 5.0, False),
        (0.0, 0.0, 0.0, False),
    ],
)
def test_cut_stands_out_from_both_neighbours(
    before: float | None, here: float, after: float | None, abrupt: bool
) -> None:
    assert is_abrupt(before, here, after, ratio=3.0) is abrupt


def test_change_of_the_picture_is_the_mean_difference_of_thumbnails() -> None:
    dark, light = (FrameSketch.of(np.full((96, 128, 3), shade, np.uint8)) for shade in (20, 55))
    assert light.change_from(dark) == pytest.approx(35)
    assert light.change_from(light) == 0


@pytest.mark.parametrize("height", [96, 144, 480, 1080])
def test_face_change_knows_the_face_whatever_the_light_and_the_size_of_the_frame(height: int) -> None:
    scale = height / 144
    first = FrameSketch.of(textured(1, height=height, width=height * 2))
    darker = FrameSketch.of(lit(textured(1, height=height, width=height * 2), 0.3, 10))
    other = FrameSketch.of(textured(2, height=height, width=height * 2))
    assert darker.face_change_from(first, BOX * scale) < 0.02
    assert other.face_change_from(first, BOX * scale) > 0.3


def test_what_is_flat_or_outside_says_nothing() -> None:
    flat, some = FrameSketch.of(np.full((144, 200, 3), 90, np.uint8)), FrameSketch.of(textured(1))
    assert some.face_change_from(flat, BOX) == 0
    assert some.face_similarity(BOX, flat, BOX) is None
    outside = np.array([400.0, 300.0, 480.0, 380.0])
    assert some.face_change_from(some, outside) == 0
    assert some.face_similarity(outside, some, BOX) is None


def test_similarity_follows_a_face_that_moved_with_its_box_and_a_little_more() -> None:
    there = textured(1)
    here = np.roll(there, (6, 17), axis=(0, 1))
    shifted = FrameSketch.of(here)
    assert shifted.face_similarity(BOX + np.array([17, 6, 17, 6]), FrameSketch.of(there), BOX) == pytest.approx(
        1, abs=0.02
    )
    wobbled = shifted.face_similarity(BOX + np.array([20, 3, 20, 3]), FrameSketch.of(there), BOX)
    assert wobbled is not None
    assert wobbled > 0.93
    other = FrameSketch.of(textured(2)).face_similarity(BOX, FrameSketch.of(there), BOX)
    assert other is not None
    assert other < 0.8


@pytest.mark.parametrize("box", [[-40.0, -30.0, 60.0, 70.0], [150.0, 100.0, 260.0, 210.0]])
def test_box_over_the_border_is_taken_as_far_as_it_goes(box: list[float]) -> None:
    some = FrameSketch.of(textured(1))
    similarity = some.face_similarity(np.array(box), some, np.array(box))
    assert similarity == pytest.approx(1, abs=1e-3)
