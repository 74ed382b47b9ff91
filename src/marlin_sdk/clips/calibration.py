"""A user's videos, or clips, to the calibration set of a quantised model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np

from marlin_sdk.clips.cut import Clip
from marlin_sdk.clips.cutter import ClipCutter
from marlin_sdk.config import ExtractionConfig, ModelConfig
from marlin_sdk.errors import ConfigError, ShapeError
from marlin_sdk.face.detectors import FaceDetector
from marlin_sdk.runtime.calibration import MAX_CLIPS, CalibrationSet, calibration_from
from marlin_sdk.video.reader import VideoSource, open_video

__all__ = ["CalibrationSource", "read_calibration"]

CalibrationSource = VideoSource | Sequence[VideoSource]


def read_calibration(
    source: CalibrationSource, config: ModelConfig, find_detector: Callable[[], FaceDetector]
) -> CalibrationSet:
    """The calibration set that a user gives.

    Args:
        source: a video, a list of videos, or uint8 clips (N, T, H, W, 3).
        config: gives the size of a clip.
        find_detector: gives the detector; called only where a video is not cropped yet.
    Returns:
        At most 32 clips: each video gives its first windows, cut as `Marlin.extract` does by default.
    Raises:
        ShapeError: clips of another shape or dtype.
        ConfigError: no window of any video shows a face.
        VideoDecodeError: a video cannot be read.
    """
    if isinstance(source, np.ndarray) and source.ndim == 5:
        channels, *size = config.clip_shape
        if source.dtype != np.uint8 or source.shape[1:] != (*size, channels) or not len(source):
            expected = ", ".join(map(str, (*size, channels)))
            raise ShapeError(f"calibration clips are uint8 (N, {expected}); got {source.dtype} {source.shape}")
        return calibration_from(source, "clips")
    videos: list[VideoSource] = list(source) if isinstance(source, (list, tuple)) else [source]  # type: ignore[list-item]
    if not videos:
        raise ConfigError("calibration=[] holds no video; leave it out for the built-in set")
    each = -(-MAX_CLIPS // len(videos))
    clips = [clip.pixels for video in videos for clip in islice(_clips(video, config, find_detector), each)]
    if not clips:
        raise ConfigError("no window of the calibration videos shows a face; give others, or leave calibration= out")
    return calibration_from(np.stack(clips), "videos")


def _clips(video: VideoSource, config: ModelConfig, find_detector: Callable[[], FaceDetector]) -> Iterator[Clip]:
    settings = ExtractionConfig()
    with open_video(video) as reader:
        for cut in ClipCutter(config, find_detector).cut(reader, settings):
            if isinstance(cut, list):
                yield from cut
