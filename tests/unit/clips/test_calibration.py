"""A user's videos or clips for calibration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.making import TINY, PaintedFace, noise, painted, write_video
from torch.nn.functional import cosine_similarity

from marlin_sdk import Marlin
from marlin_sdk.clips.calibration import read_calibration
from marlin_sdk.errors import ConfigError, ShapeError, VideoDecodeError

CLIPS = np.stack([noise(16, 32, 32, seed=seed) for seed in range(4)])


def _no_detector() -> PaintedFace:
    raise AssertionError("these videos are cropped")


def test_clips_are_used_unchanged() -> None:
    found = read_calibration(CLIPS, TINY, _no_detector)
    assert np.array_equal(found.make(), CLIPS)
    assert found.identity["name"] == "clips"


def test_cropped_videos_give_their_first_windows(tmp_path: Path) -> None:
    videos: Any = [noise(200, 32, 32, seed=1), str(write_video(tmp_path / "a.mp4", noise(40, 32, 32)))]
    found = read_calibration(videos, TINY, _no_detector)
    assert (found.identity["name"], len(found.make())) == ("videos", 7 + 2)
    assert np.array_equal(found.make()[0], videos[0][0:32:2])


def test_many_videos_contribute_equally() -> None:
    found = read_calibration([noise(400, 32, 32, seed=seed) for seed in range(8)], TINY, _no_detector)
    assert len(found.make()) == 32
    assert len({clip.tobytes() for clip in found.make()}) == 32


def test_faces_are_cropped_from_uncropped_videos() -> None:
    boxes = dict.fromkeys(range(40), (40, 30, 70, 60))
    found = read_calibration(painted(40, boxes), TINY, PaintedFace).make()
    assert found.shape[1:] == (16, 32, 32, 3)
    assert (found[0][:, 16, 16] == (255, 0, 0)).all(axis=-1).all()


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (
            CLIPS[..., :31, :],
            ShapeError,
            r"calibration clips are uint8 \(N, 16, 32, 32, 3\); got uint8 \(4, 16, 32, 31, 3\)",
        ),
        (CLIPS.astype(np.float32), ShapeError, r"got float32"),
        (CLIPS[:0], ShapeError, r"got uint8 \(0, 16"),
        ([], ConfigError, r"calibration=\[\] contains no videos"),
        (painted(40, {}), ConfigError, "no window of the calibration videos shows a face"),
        (np.empty((0, 32, 32, 3), np.uint8), VideoDecodeError, "no frame"),
    ],
)
def test_source_without_clips_is_refused(source: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_calibration(source, TINY, PaintedFace)


def test_quantised_model_names_the_clips_it_was_calibrated_with(tiny: Marlin) -> None:
    model = Marlin.untrained(TINY, device="cpu", runtime="openvino", dtype="int8", calibration=CLIPS, detector="lbp")
    meta = model.extract(CLIPS[0]).meta
    assert meta["runtime"]["calibration"] == read_calibration(CLIPS, TINY, _no_detector).identity
    features = model.extract_clip(CLIPS)
    assert cosine_similarity(features, tiny.extract_clip(CLIPS), dim=-1).min() > 0.99
    assert features.dtype == torch.float32
