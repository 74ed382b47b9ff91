"""A stress test of squares: nothing is lost at 0, and what must be lost is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tests.making import write_video
from tests.unit.stress.blobs import BlobDetector, blob_video

from marlin_sdk import Marlin
from marlin_sdk.config import ExtractionConfig
from marlin_sdk.errors import ConfigError, NoFaceError
from marlin_sdk.evaluation.probe.head_file import FittedHeads
from marlin_sdk.evaluation.probe.heads import LinearHead
from marlin_sdk.stress.frames import MAX_SIDE_PX, Frames, read_frames
from marlin_sdk.stress.perturbations import PERTURBATIONS
from marlin_sdk.stress.results import StressTest, mean_of_videos
from marlin_sdk.stress.run import PLAIN, stress_test
from marlin_sdk.stress.watching import watch

DIM = 32


def head_for(weights: str) -> FittedHeads:
    random = np.random.default_rng(0)
    head = LinearHead(("a", "b"), np.zeros(DIM), np.ones(DIM), random.standard_normal((1, DIM)), np.zeros(1), 1.0)
    return FittedHeads({"word": head}, "logistic", "mean", DIM, weights)


@pytest.fixture(scope="module")
def tested(tiny: Marlin) -> StressTest:
    videos = [blob_video(70, step=step, seed=step) for step in (1, 2)]
    return stress_test(tiny.with_detector(BlobDetector()), [*videos, b"no video"], heads=head_for("untrained:0"))


def test_nothing_is_lost_at_zero(tested: StressTest) -> None:
    for curve in tested.curves:
        (zero,) = [point for point in curve.points if point.strength == 0]
        assert zero.r2_within == 1
        assert zero.windows_lost is not None
        assert zero.score_change is not None
        assert (zero.windows_lost.value, zero.score_change.value) == (0, 0)
        assert zero.recall is None or zero.recall.value == 1
        assert [point.strength for point in curve.points] == sorted(point.strength for point in curve.points)


def test_all_eight_are_measured_and_the_broken_video_is_named(tested: StressTest) -> None:
    assert [curve.name for curve in tested.curves] == [way.name for way in PERTURBATIONS]
    assert (len(tested.videos), tested.frames, tested.windows) == (2, 70, 6)
    assert [name for name, _ in tested.left_out] == ["<bytes>"]
    assert tested.head == ("word",)
    assert any("untrained" in note for note in tested.notes)
    json.dumps(tested.to_json(), allow_nan=False)


def test_a_square_that_is_too_dark_is_lost_and_scores_change_with_the_crop(tested: StressTest) -> None:
    curves = {curve.name: {point.strength: point for point in curve.points} for curve in tested.curves}
    dark = curves["gamma"][1.5]
    assert dark.recall is not None
    assert dark.windows_lost is not None
    assert (dark.recall.value, dark.windows_lost.value) == (0, 1)
    assert (dark.r2_within, dark.score_change) == (None, None)
    tones = [curves["gamma"][at].apparent_ita for at in (-1.5, 0, 1.5)]
    assert [tone is not None for tone in tones] == [True] * 3
    values = [tone.value for tone in tones if tone]
    assert values == sorted(values, reverse=True)
    shifts = [curves["crop offset"][at].score_change for at in (0.05, 0.3)]
    assert all(shift is not None and shift.value > 0 for shift in shifts)
    assert curves["occlusion"][0.5].recall is None
    cosine, r2 = curves["occlusion"][0.1].cosine, curves["occlusion"][0.1].r2_within
    assert cosine is not None
    assert r2 is not None
    assert r2 < cosine <= 1


def test_a_head_of_other_weights_is_refused(tiny: Marlin) -> None:
    with pytest.raises(ConfigError, match=r"fitted on features of the weights sha256:1, and .* is untrained:0"):
        stress_test(tiny, [blob_video(32)], heads=head_for("sha256:1"))


def test_a_head_is_tested_with_its_own_settings(tiny: Marlin) -> None:
    """Half the stride gives windows between; the features at strength 0 are those of an extraction with them."""
    model, video = tiny.with_detector(BlobDetector()), blob_video(40)
    settings = ExtractionConfig(sample_rate=1, stride=8, detect_every=4, pool="time", reduction="mean")
    width = 8 * DIM
    head = LinearHead(("a", "b"), np.zeros(width), np.ones(width), np.ones((1, width)), np.zeros(1), 1.0)
    wide = FittedHeads({"word": head}, "logistic", "mean", width, "untrained:0", {"settings": {"reduction": "mean"}})
    occlusion = [way for way in PERTURBATIONS if way.name == "occlusion"]
    tested = stress_test(model, [video], heads=wide, settings=settings, perturbations=occlusion)
    assert (tested.frames, tested.windows) == (40, 4)
    assert "windows of 16 steps: each frame of the source; faces detected on one step of 4" in " ".join(tested.notes)
    zero, *others = tested.curves[0].points
    assert zero.score_change is not None
    assert zero.score_change.value == 0
    assert all(point.score_change is not None and point.score_change.value > 0 for point in others)
    seen = watch(model, Frames("v", video, 25.0), video, settings)
    assert len(seen.found) == len(video)
    with pytest.raises(ConfigError, match="these settings have compat"):
        stress_test(model, [video], settings=ExtractionConfig(keep_seq=True))


def test_videos_without_a_face_are_an_error_with_the_first_reason(tiny: Marlin) -> None:
    model = tiny.with_detector(BlobDetector())
    with pytest.raises(NoFaceError, match="no window of the undisturbed video shows a face"):
        stress_test(model, [np.zeros((40, 64, 64, 3), np.uint8)])
    with pytest.raises(ConfigError, match="needs videos"):
        stress_test(model, [])


def test_frames_are_bounded_in_time_number_and_size(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", blob_video(60))
    assert read_frames(video, PLAIN, seconds=1.0).rgb.shape == (13, 120, 160, 3)
    assert read_frames(video, PLAIN).fps == 12.5
    assert read_frames(video, ExtractionConfig(sample_rate=1), seconds=1.0).rgb.shape == (25, 120, 160, 3)
    assert read_frames(video, ExtractionConfig(fps=10), seconds=1.0).rgb.shape == (10, 120, 160, 3)
    large = read_frames(np.zeros((4, 100, 2 * MAX_SIDE_PX, 3), np.uint8), PLAIN)
    assert large.rgb.shape == (2, 50, MAX_SIDE_PX, 3)
    assert "scaled from" in large.notes[0]
    many = read_frames(np.zeros((1000, 8, 8, 3), np.uint8), PLAIN, seconds=100)
    assert len(many.rgb) == 320
    assert "read up to" in many.notes[0]


def test_mean_of_videos_leaves_out_what_is_undefined() -> None:
    mean = mean_of_videos([0.0, 1.0, float("nan")])
    assert mean is not None
    assert (mean.value, mean.videos) == (0.5, 2)
    assert mean_of_videos([float("nan")]) is None
    single = mean_of_videos([0.5])
    assert single is not None
    assert (single.low, single.high) == (None, None)
