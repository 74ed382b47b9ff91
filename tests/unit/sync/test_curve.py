"""Offsets from distance curves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk.sync.curve import MAX_SHIFT, SHIFTS, mean_curve, read_curve, slope_ms_per_min

STEPS = np.array(SHIFTS, dtype=np.float64)


def valley(at: float, depth: float = 0.4) -> np.ndarray:
    """Distances that are smallest at a shift, not necessarily whole."""
    return 1.4 - depth * np.maximum(0, 1 - ((STEPS - at) / 3) ** 2)


@given(at=st.floats(-14, 14), depth=st.floats(0.05, 1))
def test_the_minimum_is_found_between_frames(at: float, depth: float) -> None:
    reading = read_curve(np.stack([valley(at, depth)] * 3))
    assert reading is not None
    assert reading.offset_ms == pytest.approx(at * 40, abs=2)
    assert 0.8 * depth <= reading.confidence <= depth + 1e-9
    assert reading.distance == pytest.approx(1.4 - depth, abs=0.06 * depth + 1e-9)


@given(st.integers(0, 2**32 - 1))
def test_windows_without_some_shifts_do_not_move_the_minimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = np.stack([valley(4) + level for level in rng.normal(0, 0.5, 12)])  # windows differ more than shifts
    for row, first in zip(found[:4], rng.integers(0, 12, 4), strict=True):
        row[:first] = np.nan
    reading = read_curve(found)
    assert reading is not None
    assert reading.offset_ms == pytest.approx(160, abs=40)


def test_mean_of_whole_windows_is_their_mean() -> None:
    found = np.random.default_rng(0).random((5, len(SHIFTS)))
    np.testing.assert_allclose(mean_curve(found), found.mean(axis=0))


def test_without_enough_sound_there_is_no_reading() -> None:
    found = np.full((3, len(SHIFTS)), np.nan)
    assert read_curve(found) is None
    found[:, :MAX_SHIFT] = 1.0
    assert read_curve(found) is None
    found[0, : MAX_SHIFT + 1] = 1.0
    reading = read_curve(found)
    assert reading is not None
    assert reading.confidence == 0
    assert np.isnan(reading.curve[-1])


def test_a_minimum_at_the_end_of_the_range_is_not_refined() -> None:
    reading = read_curve(valley(17)[None])
    assert reading is not None
    assert reading.offset_ms == 600


def test_drift_is_a_slope_that_one_outlier_does_not_move() -> None:
    times_s = np.arange(0.0, 60, 4)
    offsets_ms = 40 + 2 * times_s
    offsets_ms[5] = -400
    assert slope_ms_per_min(times_s, offsets_ms) == pytest.approx(120, rel=0.05)
    assert slope_ms_per_min(times_s[:2], offsets_ms[:2]) is None
