"""From windows to videos, and keys of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk.errors import PredictionsError
from marlin_sdk.evaluation.columns import row_keys
from marlin_sdk.evaluation.levels import has_windows, to_videos
from marlin_sdk.evaluation.predictions import Predictions

WINDOWS: dict[str, Any] = {
    "id": ["a", "b", "a", "b", "a"],
    "window": [0, 0, 2, 1, 1],
    "y_true": ["x", "y", "x", "y", "x"],
    "scores": {"x": [0.1, 0.2, 0.6, 0.4, 0.5], "y": [0.9, 0.8, 0.4, 0.6, 0.5]},
}


def test_video_has_the_mean_of_its_windows() -> None:
    videos = to_videos(Predictions.of(**WINDOWS, group=["g", "h", "g", "h", "g"]))
    assert videos.id.to_array().tolist() == ["a", "b"]
    assert videos.group.to_array().tolist() == ["g", "h"]
    assert videos.window.tolist() == [-1, -1]
    assert videos.y_true.tolist() == [0, 1]
    np.testing.assert_allclose(videos.scores, [[0.4, 0.6], [0.3, 0.7]])
    assert to_videos(videos) is videos


def test_windows_of_other_seeds_folds_labels_and_ratios_are_kept_apart() -> None:
    for name, values in {"seed": [1, 1, 2, 1, 1], "fold": [1, 1, 2, 1, 1], "ratio": [1, 1, 0.5, 1, 1]}.items():
        columns: dict[str, Any] = {**WINDOWS, name: values}
        videos = to_videos(Predictions.of(**columns))
        assert sorted(videos.id.to_array()) == ["a", "a", "b"]
        assert sorted(videos.scores[:, 0].round(3)) == [0.3, 0.3, 0.6]
    assert len(to_videos(Predictions.of(**WINDOWS, label=["p", "p", "q", "p", "p"]))) == 3


def test_mean_of_single_precision_scores_of_many_windows_is_exact() -> None:
    rows = 30_000
    scores = np.full(rows, 0.1, np.float32)
    made = Predictions.of(id=["a"] * rows, window=range(rows), y_true=[1] * rows, scores={"1": scores})
    assert to_videos(made).scores[0, 0] == pytest.approx(np.float64(np.float32(0.1)), rel=1e-12)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_true": ["x", "y", "y", "y", "x"]}, "windows of the video 'a' differ in y_true"),
        ({"group": ["g", "h", "g", "x", "g"]}, "windows of the video 'b' differ in group"),
        ({"window": [0, 0, -1, 1, 1]}, "4 rows are windows and 1 whole videos"),
    ],
)
def test_what_has_no_video_level_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        to_videos(Predictions.of(**{**WINDOWS, **changes}))


def test_predictions_say_whether_they_are_of_windows() -> None:
    assert has_windows(Predictions.of(**WINDOWS))
    assert not has_windows(Predictions.of(id=["a"], y_true=[0.5], scores={"value": [1.0]}))


COLUMN = st.sampled_from([0, 1, -1, 2**62, -(2**62), 2**33, 7])


@given(st.lists(st.tuples(COLUMN, COLUMN, COLUMN, st.sampled_from([0.1, 1.0, 0.5])), max_size=20))
def test_keys_are_equal_and_ordered_as_the_rows(rows: list[tuple[int, int, int, float]]) -> None:
    columns = [np.array([row[at] for row in rows], np.float64 if at == 3 else np.int64) for at in range(4)]
    keys = row_keys(*columns).tolist()
    assert [keys[i] for i in sorted(range(len(rows)), key=lambda i: rows[i])] == sorted(keys)
    assert len(set(keys)) == len(set(rows))
