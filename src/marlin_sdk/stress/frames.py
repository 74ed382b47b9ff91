"""The frames of a stress test: the first seconds of a video, in memory, as an array that is used many times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.clips.windows import sample
from marlin_sdk.config import ExtractionConfig
from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.face.cropping import fit_frame
from marlin_sdk.video.reader import VideoSource, display_name, open_video
from marlin_sdk.video.sources import ASSUMED_FPS

__all__ = ["MAX_FRAMES", "MAX_SIDE_PX", "Frames", "read_frames"]

MAX_FRAMES = 320
MAX_SIDE_PX = 1280
"""Of larger frames the long side is scaled to this: 320 of them take less than 900 MB."""


@dataclass(frozen=True, eq=False)
class Frames:
    """The sampled frames of a video.

    Attributes:
        name: of the video.
        rgb: uint8 (T, H, W, 3).
        fps: sampled frames a second.
        notes: what was left out, in words.
    """

    name: str
    rgb: NDArray[np.uint8]
    fps: float
    notes: tuple[str, ...] = ()


def read_frames(video: VideoSource, settings: ExtractionConfig, *, seconds: float = 10.0) -> Frames:
    """The frames that an extraction would sample from the first seconds of a video, at most 320.

    Args:
        video: path, URL, folder of images, or an array.
        settings: whose sampling is taken.
        seconds: how much of it is read.
    Raises:
        VideoDecodeError: no frame can be decoded.
    """
    frames: list[NDArray[np.uint8]] = []
    name, notes = display_name(video), []
    with open_video(video, source_fps=settings.source_fps) as reader:
        begin_s = None
        for frame in sample(reader, settings):
            begin_s = frame.time_s if begin_s is None else begin_s
            if frame.time_s - begin_s >= seconds:
                break
            rgb, _ = fit_frame(frame.rgb, min(MAX_SIDE_PX, max(frame.height, frame.width)))
            if len(frames) == MAX_FRAMES or (frames and rgb.shape != frames[0].shape):
                reason = "its frames change size" if len(frames) < MAX_FRAMES else f"{MAX_FRAMES} frames were read"
                notes.append(f"{name}: read up to {frame.time_s - begin_s:.1f} s only: {reason}")
                break
            if max(frame.height, frame.width) > MAX_SIDE_PX and not frames:
                notes.append(f"{name}: scaled from {frame.width}x{frame.height} to {rgb.shape[1]}x{rgb.shape[0]}")
            frames.append(rgb)
        fps = settings.fps or (reader.fps or ASSUMED_FPS) / settings.sample_rate
    if not frames:
        raise VideoDecodeError(f"{name} has no frame that can be decoded")
    return Frames(name, np.stack(frames), fps, tuple(notes))
