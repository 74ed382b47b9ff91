"""The map of windows."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.report.dumps import features_of

from marlin_sdk.report.projection import MAX_POINTS, VectorPool


def test_two_kinds_of_windows_lie_apart_along_the_first_direction() -> None:
    rng = np.random.default_rng(0)
    pool = VectorPool()
    for video, centre in enumerate((0.0, 10.0)):
        values = rng.normal(centre, 0.1, (20, 16)).astype(np.float32)
        pool.add(video, features_of(starts_s=list(range(20)), length_s=1.0, values=values))
    found = pool.project(seed=0)
    assert found is not None
    sides = [{round(point.x) for point in found.points if point.video == video} for video in (0, 1)]
    assert sorted(side for group in sides for side in group) == [0, 1]
    assert found.explained[0] > 0.99
    assert found.num_fitted == 40
    assert all(0 <= point.x <= 1 and 0 <= point.y <= 1 for point in found.points)


def test_a_point_says_which_window_it_is() -> None:
    pool = VectorPool()
    pool.add(7, features_of(starts_s=[0.0, 2.0, 4.0], length_s=1.5, tracks=[0, 1, 0]))
    found = pool.project(seed=0)
    assert found is not None
    told = [(point.video, point.track_id, point.start_s, point.end_s) for point in found.points]
    assert told == [(7, 0, 0.0, 1.5), (7, 0, 4.0, 5.5), (7, 1, 2.0, 3.5)]


def test_the_distances_are_those_of_the_principal_plane() -> None:
    values = np.array([[0, 0, 0], [4, 0, 0], [0, 2, 0], [4, 2, 0]], dtype=np.float32)
    pool = VectorPool()
    pool.add(0, features_of(starts_s=[0.0, 1.0, 2.0, 3.0], length_s=1.0, values=values))
    found = pool.project(seed=0)
    assert found is not None
    assert found.explained == pytest.approx((0.8, 0.2))
    xs = [round(point.x, 6) for point in found.points]
    assert xs[0] == xs[2] != xs[1] == xs[3]


def test_long_videos_give_a_bounded_number_of_points_over_their_whole_time() -> None:
    pool = VectorPool()
    for video in range(100):
        pool.add(video, features_of(starts_s=[float(n) for n in range(1000)], length_s=1.0))
    found = pool.project(seed=0)
    assert found is not None
    assert len(found.points) <= MAX_POINTS
    assert found.num_fitted == 100 * 100
    times = [point.start_s for point in found.points if point.video == 3]
    assert (min(times), max(times)) == (0.0, 999.0)


def test_the_same_seed_gives_the_same_map() -> None:
    def draw() -> list[float]:
        pool = VectorPool()
        pool.add(0, features_of(starts_s=[float(n) for n in range(50)], length_s=1.0))
        found = pool.project(seed=3)
        assert found is not None
        return [point.x for point in found.points]

    assert draw() == draw()


def test_rows_without_numbers_and_videos_of_another_model_are_left_out() -> None:
    values = np.ones((4, 8), dtype=np.float32) * np.arange(4)[:, None]
    values[2, 3] = np.nan
    pool = VectorPool()
    pool.add(0, features_of(starts_s=[0.0, 1.0, 2.0, 3.0], length_s=1.0, values=values))
    pool.add(1, features_of(starts_s=[0.0], length_s=1.0, values=np.ones((1, 5), dtype=np.float32)))
    found = pool.project(seed=0)
    assert found is not None
    assert [point.start_s for point in found.points] == [0.0, 1.0, 3.0]


def test_a_reduced_video_is_one_point_over_its_whole_time() -> None:
    pool = VectorPool()
    for video in range(3):
        values = np.arange(8, dtype=np.float32) * video
        pool.add(video, features_of(starts_s=[0.0, 5.0], length_s=1.0, values=values))
    found = pool.project(seed=0)
    assert found is not None
    assert [(point.start_s, point.end_s) for point in found.points] == [(0.0, 6.0)] * 3


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_windows_make_no_map(count: int) -> None:
    pool = VectorPool()
    pool.add(0, features_of(starts_s=[float(n) for n in range(count)], length_s=1.0))
    assert pool.project(seed=0) is None


def test_windows_that_are_all_the_same_make_no_map() -> None:
    pool = VectorPool()
    pool.add(0, features_of(starts_s=[0.0, 1.0, 2.0], length_s=1.0, values=np.ones((3, 8))))
    assert pool.project(seed=0) is None
