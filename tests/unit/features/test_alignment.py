"""Features at moments of another clock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dump.example_dumps import random_features

from marlin_sdk import ConfigError, VideoFeatures
from marlin_sdk.features.alignment import even_times, rows_at


def rows_from(starts: list[float], length_s: float = 1.28, track: int = 0) -> VideoFeatures:
    features = random_features(len(starts))
    start_s = np.array(starts)
    return replace(
        features, start_s=start_s, end_s=start_s + length_s, track_id=np.full(len(starts), track, dtype=np.int64)
    )


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=8),
    st.lists(st.integers(-5, 60), max_size=20),
)
def test_nearest_centre_of_the_windows_that_contain_a_moment(windows: list[tuple[int, int]], times: list[int]) -> None:
    start = np.array([begin for begin, _ in windows], dtype=np.float64)
    end = np.array([begin + length for begin, length in windows], dtype=np.float64)
    for time, row in zip(times, rows_at(start, end, times), strict=True):
        inside = [index for index in range(len(windows)) if start[index] <= time < end[index]]
        distances = [abs(time - (start[index] + end[index]) / 2) for index in inside]
        assert row == (inside[int(np.argmin(distances))] if inside else -1)


def test_before_the_first_window_and_in_gaps_there_is_nothing() -> None:
    features = rows_from([1.0, 2.28, 6.0])
    values, known = features.at([0.0, 0.99, 1.0, 2.27, 2.29, 5.0, 6.5, 7.29])
    assert known.tolist() == [False, False, True, True, True, False, True, False]
    np.testing.assert_array_equal(values[2], features.features[0])
    np.testing.assert_array_equal(values[4], features.features[1])
    assert np.isnan(values[~known]).all()


def test_frame_between_two_windows_is_no_gap() -> None:
    """At every second frame of 25 a second a window ends at 1.24 s, and the next one starts at 1.28 s."""
    features = rows_from([0.0, 1.28, 3.84], length_s=1.24)
    _, known = features.at([1.25, 1.27, 2.53, 5.09])
    assert known.tolist() == [True, True, False, False]


def test_overlapping_windows_give_the_nearest_centre() -> None:
    features = rows_from([0.0, 0.32, 0.64])
    values, _ = features.at([0.7, 0.9, 1.3])
    np.testing.assert_array_equal(values, features.features[[0, 1, 2]])


def test_faces_at_the_same_time_are_told_apart_first() -> None:
    both = replace(rows_from([0.0, 0.0, 1.28, 1.28]), track_id=np.array([0, 1, 0, 1]))
    with pytest.raises(ConfigError, match=r"2 faces at the same time; take one: features.tracks"):
        both.at([0.5])
    tracks = both.tracks()
    assert list(tracks) == [0, 1]
    np.testing.assert_array_equal(tracks[1].at([1.3])[0][0], both.features[3])


def test_slices_masks_and_numbers_select_rows() -> None:
    features = rows_from([0.0, 1.28, 2.56, 3.84])
    np.testing.assert_array_equal(features[1:3].features, features.features[1:3])
    np.testing.assert_array_equal(features[features.start_s > 2].boxes, features.boxes[2:])
    np.testing.assert_array_equal(features[[3, 0]].start_s, features.start_s[[3, 0]])
    assert len(features[[]]) == 0
    assert features[1:3].meta == features.meta
    with pytest.raises(ConfigError, match="4 rows cannot be indexed"):
        features[[9]]


def test_table_on_an_even_grid_and_at_the_times_of_labels() -> None:
    features = rows_from([0.0, 1.28, 5.12])
    table = features.to_pandas(hz=10)
    assert table.index.name == "time_s"
    assert len(table) == 64
    assert table.loc[2.5].to_numpy() == pytest.approx(features.features[1])
    assert table.loc[3.0].isna().all()
    labels = pd.DataFrame({"time_s": [0.1, 1.3, 9.0], "smile": [0.2, 0.9, 0.1]})
    joined = labels.join(features.to_pandas(times_s=labels["time_s"]), on="time_s")
    assert joined["f0"].tolist()[:2] == pytest.approx(features.features[:2, 0])
    assert np.isnan(joined["f0"].iloc[2])


def test_wrong_questions_are_refused() -> None:
    features = rows_from([0.0])
    with pytest.raises(ConfigError, match="either hz= or times_s="):
        features.to_pandas()
    with pytest.raises(ConfigError, match="without NaN"):
        features.at([np.nan])
    with pytest.raises(ConfigError, match="hz is 0"):
        features.to_pandas(hz=0)
    assert len(even_times(1.28, 25)) == 32
