"""Recall and jitter of boxes that are known; a watched model sees each frame once."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.stress.blobs import SIDE, BlobDetector, blob_video

from marlin_sdk import Detections, Marlin
from marlin_sdk.stress.frames import Frames
from marlin_sdk.stress.run import PLAIN
from marlin_sdk.stress.watching import crops_of, embed_crops, found_again, main_faces, watch


def test_faces_found_again_overlap_by_half() -> None:
    face = [0.0, 0.0, 10.0, 10.0]
    expected = np.array([face, face, face, face, [np.nan] * 4])
    found = [
        Detections.from_rows([[0, 0, 10, 10]], [0.9]),
        Detections.from_rows([[100, 100, 120, 120], [3, 0, 13, 10]], [0.9, 0.2]),  # 7 / 13
        Detections.from_rows([[4, 0, 14, 10]], [0.9]),  # 6 / 14
        Detections.from_rows([], []),
        Detections.from_rows([[0, 0, 10, 10]], [0.9]),
    ]
    recall, jitter = found_again(expected, found)
    assert recall == 0.5
    assert jitter == pytest.approx(0.3)


def test_without_a_face_nothing_is_said() -> None:
    recall, jitter = found_again(np.full((3, 4), np.nan), [Detections.from_rows([], [])] * 3)
    assert np.isnan([recall, jitter]).all()


def test_a_watched_model_sees_each_frame_once_and_follows_the_square(tiny: Marlin) -> None:
    rgb = blob_video(40)
    seen = watch(tiny.with_detector(BlobDetector()), Frames("blob", rgb, 12.5), rgb, PLAIN)
    assert len(seen.found) == 40
    assert seen.features is not None
    faces = main_faces(seen.found, seen.features)
    assert faces[:, 0].tolist() == [20 + index for index in range(40)]
    recall, jitter = found_again(faces, seen.found)
    assert recall == 1
    assert jitter == pytest.approx(1 / SIDE)


def test_crops_of_its_own_boxes_give_the_features_again(tiny: Marlin) -> None:
    model, rgb = tiny.with_detector(BlobDetector()), blob_video(40)
    features = watch(model, Frames("blob", rgb, 12.5), rgb, PLAIN).features
    assert features is not None
    crops = crops_of(rgb, features.frame_index, features.boxes, tiny.config.img_size)
    assert crops.shape == (3, 16, 32, 32, 3)
    np.testing.assert_allclose(embed_crops(model, crops, PLAIN), features.features, atol=1e-5)


def test_a_dark_video_shows_no_face(tiny: Marlin) -> None:
    rgb = (blob_video(32) * 0.2).astype(np.uint8)
    seen = watch(tiny.with_detector(BlobDetector()), Frames("dark", rgb, 12.5), rgb, PLAIN)
    assert seen.features is None
    assert len(seen.found) == 32
