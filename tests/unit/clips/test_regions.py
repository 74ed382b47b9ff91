"""The regions of the face in each clip, by a detector whose landmarks are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.making import FACE_TEMPLATE, ColouredFaces, PaintedFace, noise, painted
from tests.unit.clips.test_cut import as_frames

from marlin_sdk import ConfigError, Detections, ExtractionConfig, FaceDetector, ModelConfig
from marlin_sdk.clips.cut import Clip, cut_clips
from marlin_sdk.clips.regions import RegionFinder
from marlin_sdk.face.detectors import LbpDetector
from marlin_sdk.face.regions.tokens import region_tokens

MODEL = ModelConfig(encoder_embed_dim=32, encoder_depth=1, encoder_num_heads=2, img_size=64, patch_size=8)
EXACT: dict[str, Any] = {"sample_rate": 1, "detect_every": 1, "smooth": False}
TEMPLATE = FACE_TEMPLATE.astype(np.float64)
FACE = (40, 20, 80, 60)


class Nodding(ColouredFaces):
    """Its mouth lies two pixels lower in every frame than in the one before."""

    def __init__(self, shift_px: float = 2.0) -> None:
        self._shift_px = shift_px
        self._calls = 0

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        found = super().detect(frames)
        for faces in found:
            faces.landmarks[:, 3:, 1] += self._shift_px * self._calls
            self._calls += 1
        return found


def clips_of(pictures: NDArray[np.uint8], detector: FaceDetector, cropped: bool = False, **settings: Any) -> list[Clip]:
    config = ExtractionConfig(**{**EXACT, **settings})
    regions = RegionFinder(detector, MODEL)
    cuts = list(cut_clips(as_frames(pictures), config, MODEL, None if cropped else detector, regions=regions))
    return [clip for one in cuts if isinstance(one, list) for clip in one]


def test_landmarks_are_mapped_into_the_crop() -> None:
    boxes = {index: (30 + index, 20, 70 + index, 60) for index in range(16)}
    (clip,) = clips_of(painted(16, boxes), ColouredFaces())
    expected = region_tokens(np.stack([TEMPLATE * 64 / 112] * 8), 64, 8)
    np.testing.assert_array_equal(clip.regions, expected, strict=True)


def test_each_slice_takes_the_landmarks_of_its_first_frame() -> None:
    (clip,) = clips_of(painted(16, dict.fromkeys(range(16), FACE)), Nodding())
    expected = np.stack([TEMPLATE * 64 / 112] * 8)
    expected[:, 3:, 1] += 2.0 * 64 / 40 * np.arange(0, 16, 2)[:, None]
    np.testing.assert_array_equal(clip.regions, region_tokens(expected, 64, 8))


def test_landmarks_between_two_detections_are_interpolated() -> None:
    (clip,) = clips_of(painted(16, dict.fromkeys(range(16), FACE)), Nodding(8.0), detect_every=4)
    expected = np.stack([TEMPLATE * 64 / 112] * 8)
    detected = [0, 4, 8, 12, 15]
    expected[:, 3:, 1] += 64 / 40 * np.interp(np.arange(0, 16, 2), detected, 8.0 * np.arange(5))[:, None]
    np.testing.assert_array_equal(clip.regions, region_tokens(expected, 64, 8))


def test_frame_without_the_face_takes_the_regions_of_the_frame_that_stands_in() -> None:
    boxes = dict.fromkeys(range(12), FACE)
    (clip,) = clips_of(painted(16, boxes), Nodding())
    shown = np.minimum(np.arange(0, 16, 2), 11)
    expected = np.stack([TEMPLATE * 64 / 112] * 8)
    expected[:, 3:, 1] += 2.0 * 64 / 40 * shown[:, None]
    assert clip.frame_valid.tolist() == [True] * 12 + [False] * 4
    np.testing.assert_array_equal(clip.regions, region_tokens(expected, 64, 8))


def test_every_face_has_its_own() -> None:
    pictures = painted(16, dict.fromkeys(range(16), FACE))
    pictures[:, 4:16, 100:112] = (0, 0, 255)
    red, blue = clips_of(pictures, ColouredFaces(), faces="all")
    assert red.regions is not None
    assert blue.regions is not None
    np.testing.assert_array_equal(red.regions, blue.regions)  # the same face, smaller


def test_cropped_clip_is_looked_at_by_the_detector() -> None:
    pictures = np.full((16, 64, 64, 3), 90, dtype=np.uint8)
    pictures[:, 8:56, 8:56] = (255, 0, 0)
    (clip,) = clips_of(pictures, ColouredFaces(), cropped=True)
    np.testing.assert_array_equal(clip.regions, region_tokens(np.stack([8 + TEMPLATE * 48 / 112] * 8), 64, 8))


def test_cropped_clip_without_a_face_takes_the_mean_one() -> None:
    (clip,) = clips_of(noise(16, 64, 64) // 8 + 90, ColouredFaces(), cropped=True)
    assert clip.regions is not None
    assert np.bitwise_or.reduce(clip.regions, axis=None) == 15
    assert (clip.regions == clip.regions[:1]).all()


@pytest.mark.parametrize("cropped", [False, True])
def test_face_without_landmarks_is_refused(cropped: bool) -> None:
    pictures = np.full((16, 64, 64, 3), 90, dtype=np.uint8)
    pictures[:, 20:50, 20:50] = (255, 0, 0)
    with pytest.raises(ConfigError, match=r"'painted' returned a face without landmarks.*use detector='yunet'"):
        clips_of(pictures, PaintedFace(), cropped=cropped)


def test_built_in_detector_without_landmarks_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match=r"detector 'lbp' finds no landmarks, which pool='regions' needs; use.*yunet"):
        RegionFinder(LbpDetector(), MODEL)


def test_without_a_finder_clips_have_no_regions() -> None:
    pictures = painted(16, dict.fromkeys(range(16), FACE))
    (clips,) = cut_clips(as_frames(pictures), ExtractionConfig(**EXACT), MODEL, ColouredFaces())
    assert isinstance(clips, list)
    assert clips[0].regions is None
