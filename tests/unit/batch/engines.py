"""Small videos, a tiny model and an engine over both."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.making import TINY, noise, write_video
from tests.unit.batch.trouble import HARM, Harmful

from marlin_sdk import ExtractionConfig, Marlin, VideoFeatures, WindowFeatures
from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.workers import WorkerLimits
from marlin_sdk.clips.cut import Clip
from marlin_sdk.inputs.videos import VideoInput

SETTINGS = ExtractionConfig(sample_rate=1, batch_size=4)


class Watched(Marlin):
    """A model that tells what it was given, and may be slow."""

    delay_s = 0.0
    batches: Sequence[int] = ()

    def embed_clips(self, clips: Sequence[Clip], **options: Any) -> list[WindowFeatures]:
        self.batches = [*self.batches, len(clips)]
        time.sleep(self.delay_s)
        return super().embed_clips(clips, **options)


def watched(delay_s: float = 0.0) -> Watched:
    model = Watched.untrained(TINY, device="cpu", detector="lbp")
    assert isinstance(model, Watched)
    model.delay_s = delay_s
    return model


def recipe(folder: Path, harm: str = "", settings: ExtractionConfig = SETTINGS, **options: Any) -> Recipe:
    """The tiny model, and a detector that does harm."""
    return Recipe(
        **{"model": TINY, "untrained": True, "detector": Harmful(folder, harm), "settings": settings, **options}
    )


def video(
    path: Path, num_frames: int = 40, *, size_px: int = 48, harm_at: int | None = None, seed: int = 0
) -> VideoInput:
    """A video of faint colours, without a cut; of 32 px it fits the tiny model, so that no face is sought."""
    frames = noise(num_frames, size_px, size_px, seed=seed) // 8 + 90
    frames[:, :16, :16] = (255, 255, 255)
    if harm_at is not None:
        frames[harm_at:, :16, :16] = HARM
    path.parent.mkdir(parents=True, exist_ok=True)
    return VideoInput(path.stem, str(write_video(path, frames)))


def engine(how: Recipe, models: Sequence[Marlin] | None = None, *, workers: int = 1, **limits: Any) -> LocalEngine:
    return LocalEngine(how, models or [watched()], workers=workers, limits=WorkerLimits(**limits))


def assert_alike(got: VideoFeatures, expected: VideoFeatures) -> None:
    """The same rows; features up to how a matrix product rounds in batches of another size."""
    np.testing.assert_allclose(got.features, expected.features, atol=1e-5)
    for name in ("start_s", "end_s", "frame_index", "frame_valid", "boxes", "face_score", "track_id"):
        np.testing.assert_array_equal(getattr(got, name), getattr(expected, name), err_msg=name, strict=True)
    assert (got.skipped, got.warnings) == (expected.skipped, expected.warnings)
