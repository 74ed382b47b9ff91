"""What a head says of a video, its faces and its windows."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.prediction.heads import DIM, heads_of, linear
from tests.unit.report.dumps import features_of

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe.attentive import fit_attentive
from marlin_sdk.evaluation.probe.head_file import FittedHeads
from marlin_sdk.evaluation.probe.heads import Training
from marlin_sdk.features import SkippedWindow, VideoFeatures
from marlin_sdk.prediction.result import CONTEXT, LabelPrediction, score_video

THREE = ("angry", "calm", "happy")


def video(tracks: list[int]) -> VideoFeatures:
    """A window a track, in that order, one after the other."""
    return features_of(starts_s=[1.28 * row for row in range(len(tracks))], length_s=1.24, tracks=tracks)


def scored(heads: FittedHeads, features: VideoFeatures) -> dict[str, float]:
    (label,) = heads.heads
    return dict(zip(heads.heads[label].classes, heads.scores(features)[label].tolist(), strict=True))


def approx(label: LabelPrediction) -> object:
    return pytest.approx(dict(label.scores), abs=1e-9)


def test_scores_are_of_the_video_of_each_face_and_of_each_window() -> None:
    features, heads = video([3, 1, 3, 3]), heads_of(mood=THREE)
    prediction = score_video(heads, features)
    assert scored(heads, features) == approx(prediction.labels["mood"])
    assert list(prediction.tracks) == [3, 1]
    assert scored(heads, features[[0, 2, 3]]) == approx(prediction.tracks[3]["mood"])
    assert scored(heads, features[[1]]) == approx(prediction.tracks[1]["mood"])
    assert [(window.track_id, round(window.start_s, 2)) for window in prediction.timeline] == [
        (3, 0.0), (1, 1.28), (3, 2.56), (3, 3.84)
    ]  # fmt: skip
    for row, window in enumerate(prediction.timeline):
        assert scored(heads, features[[row]]) == approx(window.labels["mood"])
    assert prediction.context == 1


def test_value_is_the_most_probable_class() -> None:
    said = score_video(heads_of(mood=THREE), video([0])).labels["mood"]
    assert said.probability == max(said.scores.values())
    assert said.scores[str(said.value)] == said.probability
    assert sum(said.scores.values()) == pytest.approx(1)


def test_number_of_a_regression_has_no_probability() -> None:
    heads, features = heads_of(valence=()), video([0, 0])
    prediction = score_video(heads, features)
    said = prediction.labels["valence"]
    assert said.value == pytest.approx(heads.scores(features)["valence"][0])
    assert said.scores == {}
    assert said.probability is None
    assert next(row["score_value"] for row in prediction.rows()) == said.value


@given(st.lists(st.integers(0, 2), min_size=1, max_size=12))
def test_heads_that_compare_windows_get_those_around_of_the_same_face(tracks: list[int]) -> None:
    features, heads = video(tracks), heads_of("mean+std", mood=THREE)
    prediction = score_video(heads, features)
    assert prediction.context == CONTEXT == 5
    for row, window in enumerate(prediction.timeline):
        same = [other for other, track in enumerate(tracks) if track == tracks[row]]
        place = same.index(row)
        around = features[same[max(0, place - 2) : place + 3]]
        assert scored(heads, around) == approx(window.labels["mood"])


def test_attentive_head_scores_windows_in_their_surroundings() -> None:
    random = np.random.default_rng(0)
    rows = random.standard_normal((60, DIM)).astype(np.float32)
    head = fit_attentive(Training(rows, np.arange(3, 61, 3), np.arange(20) % 2, ("no", "yes"), []))
    heads = FittedHeads({"mood": head}, "attentive", "sequence", DIM, "w")
    features = video([0] * 6)
    prediction = score_video(heads, features)
    assert scored(heads, features) == pytest.approx(dict(prediction.labels["mood"].scores), abs=1e-6)
    for row, window in enumerate(prediction.timeline):
        around = features[max(0, row - 2) : row + 3]
        assert scored(heads, around) == pytest.approx(dict(window.labels["mood"].scores), abs=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "max"])
@pytest.mark.parametrize("pooling", ["mean", "mean+std"])
def test_heads_of_reduced_videos_see_reduced_ones(pooling: str, reduction: str) -> None:
    features = video([0, 0, 0])
    heads = replace(heads_of(pooling, mood=THREE), identity={"settings": {"reduction": reduction}})  # type: ignore[arg-type]
    prediction = score_video(heads, features)
    vector = getattr(features.features, reduction)(axis=0)
    reduced = replace(features, features=vector, meta={"settings": {"reduction": reduction}})
    assert scored(heads, reduced) == approx(prediction.labels["mood"])
    assert prediction.context == 1


def test_rows_are_those_of_the_video_the_faces_and_the_windows() -> None:
    rows = list(score_video(heads_of(mood=THREE, valence=()), video([0, 1])).rows())
    assert [(row["window"], row["track_id"], row["label"]) for row in rows] == [
        (window, track, label)
        for window, track in [(-1, None), (-1, 0), (-1, 1), (0, 0), (1, 1)]
        for label in ("mood", "valence")
    ]
    assert [(row["start_s"], row["end_s"]) for row in rows[::2]] == [
        pytest.approx(span) for span in [(0, 2.52), (0, 1.24), (1.28, 2.52), (0, 1.24), (1.28, 2.52)]
    ]
    assert set(rows[0]) == {
        "window", "track_id", "start_s", "end_s", "label", "predicted", "score_angry", "score_calm", "score_happy"
    }  # fmt: skip


def test_table_for_pandas_has_a_column_a_class() -> None:
    table = score_video(heads_of(mood=THREE), video([0, 1])).to_dataframe()
    windows = table[table.window >= 0]
    assert len(windows) == 2
    np.testing.assert_allclose(windows[["score_angry", "score_calm", "score_happy"]].sum(axis=1), 1)


def test_dictionary_is_plain_json_and_says_what_was_left_out() -> None:
    features = replace(video([0, 1]), skipped=(SkippedWindow(3.0, 4.0, "no face"),), warnings=("odd",))
    values = json.loads(json.dumps(score_video(heads_of(mood=THREE), features).to_dict(), allow_nan=False))
    assert values["skipped"] == [{"start_s": 3.0, "end_s": 4.0, "reason": "no face"}]
    assert values["warnings"] == ["odd"]
    assert [track["track_id"] for track in values["tracks"]] == [0, 1]
    assert set(values["timeline"][0]["labels"]["mood"]) == {"value", "scores"}


def test_video_without_windows_and_features_of_another_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="no windows"):
        score_video(heads_of(mood=THREE), video([]))
    with pytest.raises(ConfigError, match="features of 8 numbers, but the head was fitted on 6"):
        score_video(FittedHeads({"mood": linear(THREE, width=6)}, "logistic", "mean", 6, "w"), video([0]))
