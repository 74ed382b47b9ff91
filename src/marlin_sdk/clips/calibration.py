"""The calibration set of a quantised model, from a user's videos or clips."""

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
    """Build a calibration set from the user's videos or clips.

    Args:
        source: a video, a list of videos, or uint8 clips (N, T, H, W, 3).
        config: defines the size of a clip.
        find_detector: returns the detector; called only if a video is not cropped yet.
    Returns:
        At most 32 clips: the first windows of each video, cut as `Marlin.extract` does by default.
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
        raise ConfigError("calibration=[] contains no videos; omit it to use the built-in set")
    clips_per_video = -(-MAX_CLIPS // len(videos))
    clips = [clip.pixels for video in videos for clip in islice(_clips(video, config, find_detector), clips_per_video)]
    if not clips:
        raise ConfigError("no window of the calibration videos shows a face; pass other videos, or omit calibration=")
    return calibration_from(np.stack(clips), "videos")


def _clips(video: VideoSource, config: ModelConfig, find_detector: Callable[[], FaceDetector]) -> Iterator[Clip]:
    settings = ExtractionConfig()
    with open_video(video) as reader:
        for cut in ClipCutter(config, find_detector).cut(reader, settings):
            if isinstance(cut, list):
                yield from cut
