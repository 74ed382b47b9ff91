"""Calibration clips of a quantised model."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import TINY

from marlin_sdk.config import PRESETS
from marlin_sdk.face.detectors import load_detector
from marlin_sdk.runtime.calibration import astronaut_clips, built_in_calibration, calibration_from

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 16, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def clips() -> NDArray[np.uint8]:
    return astronaut_clips(PRESETS["marlin_vit_small_ytf"], 3)


def test_astronaut_clips_vary_in_motion_and_lighting(clips: NDArray[np.uint8]) -> None:
    assert clips.shape == (3, 16, 224, 224, 3)
    assert clips.dtype == np.uint8
    for clip in clips.astype(int):
        assert np.abs(clip[1:] - clip[:-1]).mean(axis=(1, 2, 3)).min() > 0.1
    assert clips.mean(axis=(1, 2, 3, 4)).std() > 3


def test_astronauts_face_is_in_the_picture(clips: NDArray[np.uint8]) -> None:
    detector = load_detector("lbp")
    found = [faces for faces in detector.detect(list(clips[:, ::5].reshape(-1, 224, 224, 3))) if len(faces.boxes)]
    assert len(found) >= 6  # of 12; the cascade misses tilted and dark ones
    for faces in found:
        x1, y1, x2, y2 = faces.boxes[0]
        assert 60 < (x1 + x2) / 2 < 164
        assert 60 < (y1 + y2) / 2 < 164


def test_built_in_set_is_the_same_each_time_and_has_the_models_size() -> None:
    built_in = built_in_calibration(TINY)
    made = built_in.make()
    assert made.shape == (built_in.identity["clips"], 16, 32, 32, 3)
    assert np.array_equal(made, built_in_calibration(TINY).make())
    assert not np.array_equal(made[:2], astronaut_clips(TINY, 2, seed=1))


def test_own_clips_are_identified_by_their_pixels() -> None:
    few = calibration_from(PIXELS[:5], "clips")
    assert few.identity == {"name": "clips", "clips": 5, "sha256": hashlib.sha256(PIXELS[:5].tobytes()).hexdigest()}
    assert np.array_equal(few.make(), PIXELS[:5])


def test_of_many_own_clips_evenly_spaced_ones_are_used() -> None:
    many = calibration_from(PIXELS, "videos").make()
    assert len(many) == 32
    assert np.array_equal(many[[0, -1]], PIXELS[[0, -1]])
