"""Curves of scores over time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.unit.prediction.heads import heads_of
from tests.unit.report.dumps import features_of

from marlin_sdk.prediction.chart import COLOURS, Chart, Line, lines_of
from marlin_sdk.prediction.result import score_video

MANY = tuple("abcdefghij")


def line(starts: list[float], ends: list[float], values: list[float], *, colour: int = 0) -> Line:
    return Line("x", COLOURS[colour], np.array(starts), np.array(ends), np.array(values))


def test_line_is_level_at_its_ends_straight_between_centres_and_nowhere_in_a_gap() -> None:
    one = line([0, 2, 10], [2, 4, 12], [0.0, 1.0, 0.5])
    assert [one.at(time) for time in (0, 0.5, 1, 2, 3, 3.9)] == pytest.approx([0, 0, 0, 0.5, 1, 1])
    assert np.isnan([one.at(time) for time in (-0.1, 4.1, 7, 9.9, 12.1)]).all()
    assert [one.at(time) for time in (10.1, 11, 12)] == pytest.approx([0.5] * 3)


@given(
    st.lists(st.tuples(st.floats(0.1, 3), st.floats(0.1, 3), st.floats(0, 1)), min_size=1, max_size=10),
    st.floats(-1, 40),
)
def test_line_stays_within_its_values_and_its_windows(windows: list[tuple[float, float, float]], time_s: float) -> None:
    starts = np.cumsum([distance for distance, _, _ in windows])
    ends = starts + [length for _, length, _ in windows]
    values = [value for *_, value in windows]
    value = line(starts.tolist(), ends.tolist(), values).at(time_s)
    inside = ((starts + 1e-3 < time_s) & (time_s < ends - 1e-3)).any()
    outside = ((time_s < starts - 1e-3) | (time_s > ends + 1e-3)).all()
    assert not (inside and np.isnan(value))
    assert not (outside and not np.isnan(value))
    assert np.isnan(value) or min(values) - 1e-9 <= value <= max(values) + 1e-9


def test_two_classes_are_one_line_and_a_number_is_one_too() -> None:
    features = features_of(starts_s=[0, 1.28], length_s=1.24)
    prediction = score_video(heads_of(smile=("no", "yes"), valence=()), features)
    title, lines = lines_of(prediction, "smile", most=6)
    assert (title, [one.name for one in lines]) == ("smile", ["yes"])
    assert lines[0].values.tolist() == [window.labels["smile"].scores["yes"] for window in prediction.timeline]
    assert lines[0].end_s.tolist() == pytest.approx([1.28, 2.52])  # the frame between two windows is no gap
    title, lines = lines_of(prediction, "valence", most=6)
    assert lines[0].values.tolist() == [window.labels["valence"].value for window in prediction.timeline]


def test_of_many_classes_the_most_probable_are_shown_and_the_title_says_so() -> None:
    features = features_of(starts_s=[0, 1.28], length_s=1.24)
    prediction = score_video(heads_of(letter=MANY), features)
    title, lines = lines_of(prediction, "letter", most=4)
    assert title == "letter (4 of 10 classes)"
    means = {name: np.mean([window.labels["letter"].scores[name] for window in prediction.timeline]) for name in MANY}
    assert sorted(one.name for one in lines) == sorted(sorted(MANY, key=lambda name: -means[name])[:4])
    for most in (2, 4, 6):  # told apart, whichever of the classes they are
        shown = lines_of(prediction, "letter", most=most)[1]
        assert len({line.colour for line in shown}) == most


def test_faces_seen_together_have_a_line_each() -> None:
    features = features_of(starts_s=[0, 0, 1.28, 1.28], length_s=1.24, tracks=[4, 7, 7, 4])
    prediction = score_video(heads_of(letter=MANY), features)
    title, lines = lines_of(prediction, "letter", most=6)
    value = str(prediction.labels["letter"].value)
    assert title == f"letter: probability of {value}"
    assert [one.name for one in lines] == ["face 4", "face 7"]
    own = [w.labels["letter"].scores[value] for w in prediction.timeline if w.track_id == 4]
    assert lines[0].values.tolist() == own


def test_faces_seen_one_after_the_other_share_the_lines() -> None:
    features = features_of(starts_s=[0, 1.28, 2.56], length_s=1.24, tracks=[4, 7, 4])
    title, lines = lines_of(score_video(heads_of(letter=MANY), features), "letter", most=10)
    assert title == "letter"
    assert all(len(one.values) == 3 for one in lines)


def test_chart_is_drawn_up_to_the_moment() -> None:
    one = line([0], [4], [0.5])
    chart = Chart("x", [one], width=480, height=360, duration_s=4.0, is_probability=True)

    def reach(picture: NDArray[np.uint8]) -> int:
        blue = (np.abs(picture.astype(int) - COLOURS[0]).sum(axis=2) < 30)[60:]
        return int(np.flatnonzero(blue.any(axis=0)).max())

    pictures = [chart.draw(time) for time in np.arange(0, 4.01, 0.04)]
    assert {picture.shape for picture in pictures} == {(360, 480, 3)}
    assert [reach(pictures[index]) for index in (0, 50, 100)] == pytest.approx([44, 255, 466], abs=6)
    blue = (np.abs(pictures[-1].astype(int) - COLOURS[0]).sum(axis=2) < 30)[60:, 50:460]
    assert blue.any(axis=0).all()  # no holes


def test_axis_of_numbers_holds_them_all() -> None:
    for values in ([-3.0, 100.0], [5.0, 5.0], [0.0, 0.0]):
        one = line([0, 1], [1, 2], values)
        chart = Chart("x", [one], width=480, height=120, duration_s=2.0, is_probability=False)
        assert chart._low < min(values)
        assert max(values) < chart._high
        chart.draw(1.0)
