"""Films of a video beside its scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import noise, write_video
from tests.unit.prediction.heads import heads_of
from tests.unit.report.dumps import features_of

from marlin_sdk.errors import ConfigError
from marlin_sdk.features import VideoFeatures
from marlin_sdk.prediction.chart import COLOURS
from marlin_sdk.prediction.film import write_film
from marlin_sdk.prediction.result import score_video
from marlin_sdk.video.reader import open_video

GREY = np.full((64, 96, 128, 3), 128, dtype=np.uint8)


def read(path: Path) -> list[NDArray[np.uint8]]:
    with open_video(path) as reader:
        return [frame.rgb for frame in reader]


def film_of(tmp_path: Path, features: VideoFeatures) -> list[NDArray[np.uint8]]:
    source = write_video(tmp_path / "grey.mp4", GREY)
    write_film(source, score_video(heads_of(mood=("no", "yes")), features), tmp_path / "film.mp4")
    return read(tmp_path / "film.mp4")


def near(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.asarray(np.abs(picture.astype(int) - colour).sum(axis=2) < 60)


def test_film_has_each_frame_of_the_video_and_the_chart_beside_it(tmp_path: Path) -> None:
    frames = film_of(tmp_path, features_of(starts_s=[0, 1.28], length_s=1.24))
    assert len(frames) == 64
    assert frames[0].shape == (28 + 360, 480 + 4 + 480, 3)
    reach = [int(np.flatnonzero(near(frame[100:, 484:], COLOURS[0]).any(axis=0)).max()) for frame in frames]
    assert reach == sorted(reach)
    assert reach[0] < 60
    assert reach[-1] > 400


def test_box_is_drawn_where_the_face_is_known(tmp_path: Path) -> None:
    features = features_of(starts_s=[0], length_s=1.24, box=(32, 24, 64, 56))
    frames = film_of(tmp_path, features)
    for index, shown in ((0, True), (1, True), (31, True), (32, False), (63, False)):
        dark = near(frames[index][28:, :480], (40, 40, 40))
        assert dark.any() == shown
    rows, columns = np.nonzero(near(frames[10][28:, :480], (40, 40, 40)))
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((90, 210, 120, 240), abs=6)


def test_faces_seen_together_have_the_colours_of_their_lines(tmp_path: Path) -> None:
    features = features_of(starts_s=[0, 0], length_s=1.24, tracks=[5, 2])
    boxes = features.boxes.copy()
    boxes[1] += [60, 30, 60, 30]
    frame = film_of(tmp_path, replace(features, boxes=boxes))[10]
    left, right = frame[28:, :200], frame[28:, 300:480]
    assert near(left, COLOURS[0]).any()
    assert not near(left, COLOURS[1]).any()
    assert near(right, COLOURS[1]).any()
    for colour in COLOURS[:2]:
        assert near(frame[60:, 484:], colour).any()


def test_frames_that_were_not_cropped_have_no_box(tmp_path: Path) -> None:
    frames = film_of(tmp_path, features_of(starts_s=[0], length_s=1.24, tracks=[-1]))
    assert not near(frames[10][28:, :480], (40, 40, 40)).any()


def test_film_shows_three_labels_at_most(tmp_path: Path) -> None:
    source = write_video(tmp_path / "grey.mp4", GREY)
    heads = heads_of(a=("no", "yes"), b=(), c=("x", "y", "z"), d=())
    prediction = score_video(heads, features_of(starts_s=[0], length_s=1.24))
    assert write_film(source, prediction, tmp_path / "film.mkv") == ["a", "b", "c"]
    frame = read(tmp_path / "film.mkv")[20]
    assert frame.shape == (388, 964, 3)
    for top in (0, 120, 240):
        assert near(frame[28 + top : 28 + top + 120, 484:], COLOURS[0]).any()


@pytest.mark.parametrize(("height", "width", "expected"), [(200, 20, 240), (20, 400, 1280), (97, 131, 486)])
def test_picture_of_any_shape_has_its_place(height: int, width: int, expected: int, tmp_path: Path) -> None:
    source = write_video(tmp_path / "odd.mkv", noise(4, height, width), codec="ffv1", pix_fmt="bgr0")
    prediction = score_video(heads_of(mood=("no", "yes")), features_of(starts_s=[0], length_s=0.16))
    write_film(source, prediction, tmp_path / "film.mp4")
    assert read(tmp_path / "film.mp4")[0].shape == (388, expected + 484, 3)


def test_film_of_another_container_is_refused(tmp_path: Path) -> None:
    source = write_video(tmp_path / "grey.mp4", GREY[:4])
    prediction = score_video(heads_of(mood=("no", "yes")), features_of(starts_s=[0], length_s=0.16))
    with pytest.raises(ConfigError, match="cannot be written"):
        write_film(source, prediction, tmp_path / "film.gif")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grey.mp4"]
