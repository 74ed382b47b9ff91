"""Made faces go back into the frame where they were cropped, with a soft edge, and the frame is marked."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.making import noise

from marlin_sdk.lipsync.paste import draw_mark, paste_face, soft_edge

FRAME = noise(1, 60, 80)[0]


@given(x=st.integers(-40, 90), y=st.integers(-40, 70), side=st.integers(2, 70), size_px=st.sampled_from([16, 32]))
@settings(max_examples=60)
def test_only_the_lower_half_of_the_square_changes(x: int, y: int, side: int, size_px: int) -> None:
    face = np.full((size_px, size_px, 3), 255, dtype=np.uint8)
    before = FRAME.copy()
    pasted = paste_face(FRAME, face, np.array([x, y, x + side, y + side]))
    assert np.array_equal(FRAME, before)
    changed = np.argwhere((pasted != FRAME).any(axis=-1))
    if len(changed):
        margin = side / size_px + 1  # of scaling
        assert changed[:, 0].min() >= y + side / 2 - margin
        assert changed[:, 0].max() < y + side
        assert changed[:, 1].min() >= x
        assert changed[:, 1].max() < x + side


def test_the_middle_of_the_mouth_is_the_made_one() -> None:
    face = np.full((32, 32, 3), 255, dtype=np.uint8)
    pasted = paste_face(FRAME, face, np.array([10, 10, 42, 42]))
    assert (pasted[34, 26] == 255).all()
    assert (pasted[10 + 15, 26] == FRAME[10 + 15, 26]).all()


def test_edge_rises_without_a_step() -> None:
    shares = soft_edge(64)
    assert shares.shape == (64, 64)
    assert (shares[:32] == 0).all()
    assert shares[48, 32] == 1
    for axis in (0, 1):
        assert np.abs(np.diff(shares, axis=axis)).max() < 0.25
    assert shares[-1].max() < 0.05
    assert shares[:, 0].max() < 0.05


def test_mark_is_in_the_lower_left_corner_and_can_be_seen() -> None:
    frame = np.full((120, 160, 3), 128, dtype=np.uint8)
    draw_mark(frame)
    changed = np.argwhere((frame != 128).any(axis=-1))
    assert changed[:, 0].min() > 90
    assert changed[:, 1].max() < 110
    assert frame.min() < 20
    assert frame.max() > 200
