"""Crops come from the frames and boxes that the features name."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import write_video
from tests.unit.report.dumps import features_of

from marlin_sdk.report.crops import CROP_PX, MAX_FRAMES, WantedCrop, choose_crops, cut_strip, data_uri


def pixels_of(uri: str) -> NDArray[np.uint8]:
    data = np.frombuffer(base64.b64decode(uri.partition("base64,")[2]), dtype=np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture[..., ::-1], dtype=np.uint8)


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 frames, each brighter than the last; a red square at (40, 20)-(80, 60)."""
    frames = [np.full((96, 128, 3), 20 + 3 * index, dtype=np.uint8) for index in range(60)]
    for frame in frames:
        frame[20:60, 40:80] = (220, 30, 30)
    return write_video(tmp_path_factory.mktemp("ramp") / "ramp.mp4", frames, options={"crf": "5"})


def want(frame: int, box: tuple[float, float, float, float] = (0, 0, 30, 15), track: int = 0) -> WantedCrop:
    return WantedCrop(frame, frame / 25, track, np.array(box, dtype=np.float32))


@pytest.mark.parametrize("frame", [0, 7, 31, 59])
def test_a_crop_is_of_its_own_frame(ramp: Path, frame: int) -> None:
    strip = cut_strip(str(ramp), [want(frame)])
    assert strip.note == ""
    assert pixels_of(strip.crops[0].image).mean() == pytest.approx(20 + 3 * frame, abs=4)


def test_a_crop_is_of_its_own_box(ramp: Path) -> None:
    strip = cut_strip(str(ramp), [want(10, (42, 22, 78, 58))])
    picture = pixels_of(strip.crops[0].image)
    assert picture.shape == (CROP_PX, CROP_PX, 3)
    np.testing.assert_allclose(picture.mean(axis=(0, 1)), (220, 30, 30), atol=12)


def test_a_box_over_the_border_is_black_there(ramp: Path) -> None:
    picture = pixels_of(cut_strip(str(ramp), [want(50, (-20, 0, 20, 40))]).crops[0].image)
    assert picture[:, :40].mean() < 10
    assert picture[:, 56:].mean() == pytest.approx(170, abs=6)


@pytest.mark.parametrize(
    "box", [(np.nan, 0, 10, 10), (0, 0, np.inf, 10), (0, 0, 1e9, 1e9), (10, 10, 10, 10), (20, 20, 10, 10)]
)
def test_a_box_that_cannot_be_is_left_out_and_said(ramp: Path, box: tuple[float, float, float, float]) -> None:
    strip = cut_strip(str(ramp), [want(3, box), want(4)])
    assert [crop.time_s for crop in strip.crops] == [4 / 25]
    assert "1 of 2 crops cannot be cut" in strip.note


def test_a_source_that_has_become_shorter_is_said_to_have_changed(ramp: Path) -> None:
    strip = cut_strip(str(ramp), [want(3), want(200)])
    assert len(strip.crops) == 1
    assert "the source has changed" in strip.note


def test_a_source_that_is_gone_is_said_so(tmp_path: Path) -> None:
    strip = cut_strip(str(tmp_path / "away.mp4"), [want(0)])
    assert strip.crops == ()
    assert f"no longer at {tmp_path / 'away.mp4'}" in strip.note


def test_a_source_that_is_no_video_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all")
    assert "can no longer be read" in cut_strip(str(tmp_path / "text.mp4"), [want(0)]).note


def test_a_url_is_not_fetched() -> None:
    assert "downloads nothing" in cut_strip("http://127.0.0.1:9/video.mp4", [want(0)]).note


def test_a_folder_of_frames_is_a_source_too(tmp_path: Path) -> None:
    for index in range(5):
        cv2.imwrite(str(tmp_path / f"{index:03d}.png"), np.full((40, 40, 3), 40 * index, dtype=np.uint8))
    strip = cut_strip(str(tmp_path), [want(3, (0, 0, 20, 20))], source_fps=25.0)
    assert pixels_of(strip.crops[0].image).mean() == pytest.approx(120, abs=3)


def test_decoding_ends_with_the_last_crop(ramp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from marlin_sdk.video.container import ContainerReader

    seen: list[int] = []
    frames_of = ContainerReader.__iter__

    def watched(self: ContainerReader):  # type: ignore[no-untyped-def]
        for frame in frames_of(self):
            seen.append(frame.index)
            yield frame

    monkeypatch.setattr(ContainerReader, "__iter__", watched)
    assert len(cut_strip(str(ramp), [want(2), want(9)]).crops) == 2
    assert seen == list(range(10))


def test_crops_are_spread_over_the_whole_video() -> None:
    features = features_of(starts_s=[float(n) for n in range(50)], length_s=1.0)
    times = [crop.time_s for crop in choose_crops(features, 8)]
    assert times == [0, 7, 14, 21, 28, 35, 42, 49]


def test_faces_share_the_strip_and_stay_together() -> None:
    starts = [float(n) for n in range(10)]
    features = features_of(starts_s=[*starts, *starts], length_s=1.0, tracks=[3] * 10 + [7] * 10)
    wanted = choose_crops(features, 8)
    assert [crop.track_id for crop in wanted] == [3] * 4 + [7] * 4
    assert [crop.time_s for crop in wanted] == [0, 3, 6, 9] * 2


def test_of_many_faces_the_four_longest_are_shown() -> None:
    tracks = [0] * 5 + [1] * 4 + [2] * 3 + [3] * 2 + [4]
    features = features_of(starts_s=[float(n) for n in range(15)], length_s=1.0, tracks=tracks)
    assert {crop.track_id for crop in choose_crops(features, 8)} == {0, 1, 2, 3}


def test_a_crop_shows_a_frame_in_which_the_face_is_there() -> None:
    features = features_of(starts_s=[0.0], length_s=1.0)
    features.frame_valid[0] = False
    features.frame_valid[0, 2] = True
    (wanted,) = choose_crops(features, 8)
    assert wanted.frame_index == features.frame_index[0, 2]


def test_nothing_is_decoded_beyond_the_bound() -> None:
    features = features_of(starts_s=[0.0, 60.0, 10_000.0], length_s=1.0)
    assert max(crop.frame_index for crop in choose_crops(features, 8)) < MAX_FRAMES
    assert len(choose_crops(features, 8)) == 2


def test_a_picture_without_loss_comes_back_as_it_was() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    uri = data_uri(picture, ".png")
    assert uri.startswith("data:image/png;base64,")
    np.testing.assert_array_equal(pixels_of(uri), picture)
