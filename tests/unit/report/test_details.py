"""Timelines and self-similarity."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.report.dumps import features_of

from marlin_sdk.features import SkippedWindow
from marlin_sdk.report.details import TIMELINE_WIDTH, Track, draw_timeline, measure_similarity, row_vectors


def covered(track: Track) -> NDArray[np.bool_]:
    line = np.zeros(TIMELINE_WIDTH, dtype=bool)
    for span in track.spans:
        assert not line[span.start : span.start + span.width].any(), "spans overlap"
        line[span.start : span.start + span.width] = True
    return line


def test_windows_one_after_another_make_one_bar() -> None:
    features = features_of(starts_s=[0.0, 1.28, 2.56], length_s=1.24)  # as sampled: every second frame of 25 a second
    line = draw_timeline(features, 3.84)
    assert line is not None
    assert (line.start_s, line.end_s, line.num_tracks) == (0.0, 3.84, 1)
    (track,) = line.tracks
    assert len(track.spans) == 1
    assert (track.spans[0].start, track.spans[0].level) == (0, 4)
    assert line.covered == pytest.approx(0.99, abs=0.011)


def test_time_that_no_window_covers_is_empty() -> None:
    line = draw_timeline(features_of(starts_s=[0.0, 6.0], length_s=2.0), 8.0)
    assert line is not None
    where = covered(line.tracks[0])
    assert where[:250].all()
    assert where[750:].all()
    assert not where[260:740].any()
    assert line.covered == pytest.approx(0.5, abs=0.02)


def test_windows_left_out_are_shown_where_they_are() -> None:
    skipped = (SkippedWindow(4.0, 6.0, "no face"),)
    line = draw_timeline(features_of(starts_s=[0.0], length_s=2.0, skipped=skipped), 8.0)
    assert line is not None
    assert [(span.start, span.width) for span in line.skipped] == [(500, 250)]
    assert line.covered == pytest.approx(0.25)


def test_each_track_has_its_own_line_and_the_longest_six_are_kept() -> None:
    starts = [float(n) for n in range(10)]
    features = features_of(starts_s=[*starts, *starts], length_s=1.0, tracks=[0] * 10 + [1, 2, 3, 4, 5, 6, 7, 8, 8, 8])
    line = draw_timeline(features, None)
    assert line is not None
    assert line.num_tracks == 9
    assert len(line.tracks) == 6
    assert {0, 8} <= {track.track_id for track in line.tracks}
    assert covered(line.tracks[0]).all()


def test_the_colour_says_how_many_frames_show_the_face() -> None:
    features = features_of(starts_s=[0.0, 1.0], length_s=1.0)
    features.frame_valid[1, 4:] = False
    line = draw_timeline(features, None)
    assert line is not None
    assert [span.level for span in line.tracks[0].spans] == [4, 1]


def test_a_part_of_a_video_begins_where_the_part_begins() -> None:
    line = draw_timeline(features_of(starts_s=[60.0, 61.0], length_s=1.0), 4.0)
    assert line is not None
    assert (line.start_s, line.end_s) == (60.0, 64.0)
    assert line.covered == pytest.approx(0.5)


def test_an_hour_of_windows_is_still_few_spans() -> None:
    starts = [float(n) for n in range(0, 3600, 2)]
    line = draw_timeline(features_of(starts_s=starts, length_s=1.0), 3600.0)
    assert line is not None
    assert len(line.tracks[0].spans) <= 200


@pytest.mark.parametrize("times", [[], [float("nan")], [float("inf")]])
def test_no_times_are_no_timeline(times: list[float]) -> None:
    assert draw_timeline(features_of(starts_s=times, length_s=1.0), 4.0) is None


def test_cosines_are_those_of_the_rows() -> None:
    values = np.array([[1, 0], [0, 2], [3, 3]], dtype=np.float32)
    found = measure_similarity(features_of(starts_s=[0.0, 1.0, 2.0], length_s=1.0, values=values))
    assert found is not None
    half = 2**-0.5
    np.testing.assert_allclose(found.cosines, [[1, 0, half], [0, 1, half], [half, half, 1]], atol=1e-6)
    assert found.lowest == pytest.approx(0.0)
    assert found.neighbours == pytest.approx(half / 2)


def test_rows_are_put_by_track_and_then_by_time() -> None:
    values = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]], dtype=np.float32)
    features = features_of(starts_s=[0.0, 0.0, 1.0, 1.0], length_s=1.0, tracks=[0, 1, 0, 1], values=values)
    found = measure_similarity(features)
    assert found is not None
    assert found.cosines[0, 1] > 0.9
    assert found.cosines[2, 3] > 0.9
    assert found.cosines[:2, 2:].max() < 0.3


def test_a_long_video_is_averaged_to_sixty_four_cells() -> None:
    values = np.repeat(np.eye(2, 8, dtype=np.float32), 512, axis=0)
    found = measure_similarity(features_of(starts_s=list(range(1024)), length_s=1.0, values=values))
    assert found is not None
    assert found.cosines.shape == (64, 64)
    assert found.cosines[:32, :32].min() == pytest.approx(1.0)
    assert found.cosines[:32, 32:].max() == pytest.approx(0.0)


def test_rows_that_hold_no_numbers_are_left_out() -> None:
    values = np.array([[1, 0], [np.nan, 0], [0, 0], [2, 0]], dtype=np.float32)
    found = measure_similarity(features_of(starts_s=[0.0, 1.0, 2.0, 3.0], length_s=1.0, values=values))
    assert found is not None
    assert found.cosines.shape == (3, 3)
    assert np.isfinite(found.cosines).all()


def test_one_window_has_nothing_to_be_compared_with() -> None:
    assert measure_similarity(features_of(starts_s=[0.0], length_s=1.0)) is None


def test_tokens_are_averaged_and_a_reduced_video_is_one_vector() -> None:
    tokens = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    np.testing.assert_allclose(
        row_vectors(features_of(starts_s=[0.0, 1.0], length_s=1.0, values=tokens)), tokens.mean(axis=1)
    )
    reduced = features_of(starts_s=[0.0, 1.0], length_s=1.0, values=np.ones(3, dtype=np.float32))
    assert row_vectors(reduced).shape == (1, 3)
    assert measure_similarity(reduced) is None
    regions = replace(
        features_of(starts_s=[0.0] * 4, length_s=1.0, values=np.eye(4)),  # as many rows as regions
        meta={"settings": {"pool": "regions", "reduction": "mean"}},
    )
    assert row_vectors(regions).tolist() == [[0.25] * 4]
    assert measure_similarity(regions) is None
