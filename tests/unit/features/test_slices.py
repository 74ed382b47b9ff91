"""Slices of windows as rows of their own, and their times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import TINY, PaintedFace, noise, painted, write_video

from marlin_sdk import ConfigError, Marlin, ShapeError, VideoFeatures
from marlin_sdk.features.slices import slice_rows

FACE = (40, 20, 80, 60)
EXACT: dict[str, Any] = {"detect_every": 1, "smooth": False, "source_fps": 25.0, "pool": "time"}


@pytest.fixture(scope="module")
def finder() -> Marlin:
    return Marlin.untrained(TINY, device="cpu", detector=PaintedFace())


def true_times(rows: VideoFeatures, fps: float = 25.0) -> NDArray[np.float64]:
    """When the first valid frame of each slice is shown, less the step before it if that is the second one."""
    return rows.frame_index[:, 0] / fps


@pytest.mark.parametrize(
    "settings", [{}, {"sample_rate": 1}, {"sample_rate": 5}, {"fps": 12.5}, {"stride": 8}], ids=str
)
def test_times_are_those_of_the_frames_at_a_constant_rate(tiny: Marlin, settings: dict[str, Any]) -> None:
    result = tiny.extract(noise(200, 32, 32), source_fps=25.0, pool="time", **settings)
    rows = result.by_time()
    assert rows.features.shape == (len(rows), 32)
    assert rows.frame_index.shape == rows.frame_valid.shape == rows.face_score.shape == (len(rows), 2)
    np.testing.assert_allclose(rows.start_s, true_times(rows), atol=1e-9)
    whole = len(result) - (not result.frame_valid[-1].all())
    frames = rows.frame_index[: 8 * whole].reshape(whole, 8, 2)
    step = frames[0, 1, 0] / 25.0
    ends = frames[..., 0] / 25.0 + step
    ends[:, -1] = (frames[:, -1, 1] + 1) / 25.0  # as that of the window
    np.testing.assert_allclose(rows.end_s[: 8 * whole].reshape(whole, 8), ends, atol=1e-9)


@pytest.mark.parametrize(("num_frames", "slices", "end_s"), [(1, 1, 0.04), (2, 1, 0.04), (3, 1, 0.12), (37, 10, 1.48)])
def test_padded_slices_are_left_out(tiny: Marlin, num_frames: int, slices: int, end_s: float) -> None:
    result = tiny.extract(noise(num_frames, 32, 32), source_fps=25.0, pool="time")
    rows = result.by_time()
    assert (len(rows), len(result)) == (slices, 1 + (num_frames > 32))
    assert rows.frame_valid[:, 0].all()
    np.testing.assert_allclose(rows.start_s, true_times(rows), atol=1e-9)
    assert rows.end_s[-1] == pytest.approx(result.end_s[-1]) == pytest.approx(end_s)
    if num_frames in (1, 2):
        assert rows.frame_valid.tolist() == [[True, False]]


def test_rows_are_the_slices(tiny: Marlin) -> None:
    result = tiny.extract(noise(64, 32, 32), source_fps=25.0, pool="time")
    rows = result.by_time()
    for name in ("frame_index", "frame_valid", "face_score"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(result, name).reshape(16, 2))
    np.testing.assert_array_equal(rows.boxes, result.boxes.reshape(16, 2, 4))
    np.testing.assert_array_equal(rows.features, result.features.reshape(16, 32))
    assert (rows.meta, rows.skipped, rows.warnings) == (result.meta, result.skipped, result.warnings)


@pytest.mark.parametrize("gone", [range(20, 42), range(22, 44), range(0, 14)], ids=str)
def test_slices_without_the_face_are_left_out_and_the_others_keep_their_times(finder: Marlin, gone: range) -> None:
    shown = [index for index in range(64) if index not in gone]
    rows = finder.extract(painted(64, dict.fromkeys(shown, FACE)), **EXACT).by_time()
    expected = [first for first in range(0, 64, 4) if first in shown or first + 2 in shown]
    np.testing.assert_allclose(rows.start_s, np.array(expected) / 25, atol=1e-9)
    assert rows.frame_valid.any(axis=1).all()


@pytest.mark.parametrize("fps", [25.0, None])
def test_face_that_leaves_before_a_short_window_ends(finder: Marlin, fps: float | None) -> None:
    """Repeats at the end are of both kinds: of the face, and of the last frame. The frame rate tells them apart."""
    shown = [*range(32), *range(32, 42)]
    result = finder.extract(painted(48, dict.fromkeys(shown, FACE)), **EXACT)
    result.meta["video"]["fps"] = fps
    rows = result.by_time()
    assert result.frame_valid[1].sum() == 5
    np.testing.assert_allclose(rows.start_s, np.arange(0, 44, 4) / 25, atol=0.003)


def test_variable_frame_rate_keeps_to_the_ends_of_each_window(tiny: Marlin, tmp_path: Path) -> None:
    times = np.cumsum([0, *np.random.default_rng(0).integers(20, 90, 99)]).tolist()
    path = write_video(tmp_path / "vfr.mkv", noise(100, 32, 32), codec="mpeg4", times=times)
    result = tiny.extract(path, pool="time")
    rows = result.by_time()
    assert (np.diff(rows.start_s) > 0).all()
    assert (rows.end_s > rows.start_s).all()
    np.testing.assert_allclose(rows.start_s[::8][: len(result)], result.start_s)
    assert rows.end_s[-1] == pytest.approx(result.end_s[-1])
    real_s = np.array(times)[rows.frame_index[:, 0]] / 1000
    assert np.abs(rows.start_s - real_s).max() < 0.3  # spread evenly over 2 s; the frames are not


def test_slices_of_a_moment(tiny: Marlin) -> None:
    result = tiny.extract(noise(100, 32, 32), source_fps=25.0, pool="time")
    rows = result.by_time()
    values, known = result.at(rows.start_s + 0.05)
    np.testing.assert_array_equal(values, rows.features)
    assert known.all()
    assert not result.at([4.1])[1].any()
    np.testing.assert_array_equal(rows.at(rows.start_s + 0.05)[0], rows.features)
    table = result.to_pandas(times_s=rows.start_s + 0.05)
    np.testing.assert_array_equal(table.to_numpy(), rows.features)
    assert result.to_pandas(hz=25).notna().all(axis=None)  # no gap between slices, nor between windows


@pytest.mark.parametrize("sample_rate", [1, 2, 4, 7])
def test_slices_leave_no_gaps_but_where_the_face_is_absent(finder: Marlin, sample_rate: int) -> None:
    gone = range(10 * sample_rate, 20 * sample_rate)  # a shorter absence is bridged by the tracker
    shown = [index for index in range(32 * sample_rate) if index not in gone]
    video = painted(32 * sample_rate, dict.fromkeys(shown, FACE))
    result = finder.extract(video, **EXACT, sample_rate=sample_rate)
    _, known = result.at((np.arange(len(video)) + 0.5) / 25)
    absent = set(np.flatnonzero(~known).tolist()) - {*range(len(video) - sample_rate, len(video))}
    assert absent == set(gone)


def test_overlapping_windows_give_overlapping_rows(tiny: Marlin) -> None:
    result = tiny.extract(noise(64, 32, 32), source_fps=25.0, pool="time", stride=8)
    rows = result.by_time()
    assert (len(result), len(rows)) == (3, 24)
    np.testing.assert_allclose(rows.start_s[4:8], rows.start_s[8:12])
    assert result.at([0.7])[1].all()


def test_faces_are_taken_one_by_one(finder: Marlin) -> None:
    result = finder.extract(painted(64, dict.fromkeys(range(64), FACE)), **EXACT, faces="all")
    twice = result[[0, 1, 0, 1]]
    two = replace(twice, track_id=np.repeat([0, 1], len(result)))
    with pytest.raises(ConfigError, match="rows of 2 faces at the same time"):
        two.at([0.5])
    assert two.tracks()[1].at([0.5])[1].all()
    assert [len(track) for track in two.by_time().tracks().values()] == [16, 16]


@pytest.mark.parametrize("suffix", ["npz", "npy", "safetensors"])
def test_files_and_slices_of_rows(tiny: Marlin, tmp_path: Path, suffix: str) -> None:
    result = tiny.extract(noise(100, 32, 32), source_fps=25.0, pool="time")
    for one in (result, result.by_time()):
        again = VideoFeatures.load(one.save(tmp_path / f"talk.{suffix}"))
        np.testing.assert_array_equal(again.features, one.features)
        np.testing.assert_array_equal(again.start_s, one.start_s)
        assert again.pool == "time"
    late = result.by_time()
    late = late[late.start_s >= 2]
    assert late.start_s[0] == pytest.approx(2.08)
    assert late.to_dataframe().shape == (len(late), 8 + 32)
    np.testing.assert_allclose(result[1:].by_time().start_s, result.by_time().start_s[8:])


def test_other_features_have_no_slices(tiny: Marlin) -> None:
    video: Any = noise(64, 32, 32)
    for settings in ({}, {"keep_seq": True}, {"pool": "time", "reduction": "mean"}):
        with pytest.raises(ConfigError, match=r"by_time\(\) splits.*extract with pool='time', reduction='none'"):
            tiny.extract(video, source_fps=25.0, **settings).by_time()
    rows = tiny.extract(video, source_fps=25.0, pool="time").by_time()
    with pytest.raises(ConfigError, match=r"got \(16, 32\) of pool='time'"):
        rows.by_time()


def test_result_without_rows(tiny: Marlin) -> None:
    empty = tiny.extract(noise(4, 32, 32), source_fps=25.0, pool="time", tail="drop")
    assert (empty.features.shape, empty.by_time().features.shape) == ((0, 8, 32), (0, 32))


def test_tables_say_what_to_do(tiny: Marlin) -> None:
    result = tiny.extract(noise(64, 32, 32), source_fps=25.0, pool="time")
    with pytest.raises(ConfigError, match=r"shape \(2, 8, 32\) are not a table; use by_time\(\)"):
        result.to_dataframe()


@pytest.mark.parametrize("reduction", ["mean", "max"])
def test_reduction_goes_over_the_rows(tiny: Marlin, reduction: Any) -> None:
    video = noise(8 * 32, 32, 32)  # as many rows as slices
    result = tiny.extract(video, source_fps=25.0, pool="time")
    reduced = tiny.extract(video, source_fps=25.0, pool="time", reduction=reduction)
    assert (len(reduced), reduced.features.shape, reduced.is_reduced) == (8, (8, 32), True)
    np.testing.assert_array_equal(reduced.features, getattr(result.features, reduction)(axis=0))
    uses: list[Callable[[], object]] = [lambda: reduced[0:1], lambda: reduced.at([0.0]), reduced.to_dataframe]
    for use in uses:
        with pytest.raises(ConfigError, match="reduction"):
            use()


def test_frames_that_do_not_divide_are_refused() -> None:
    arrays: dict[str, NDArray[Any]] = {
        "features": np.zeros((1, 3, 2), np.float32),
        "frame_index": np.zeros((1, 16), np.int64),
    }
    with pytest.raises(ShapeError, match="windows of 16 frames do not divide into 3 slices"):
        slice_rows(arrays, 25.0)
