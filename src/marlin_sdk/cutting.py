"""A reader's frames to clips: all of the pipeline that needs no torch, so that a worker process starts fast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from marlin_sdk.clips import Clip, cut_clips
from marlin_sdk.config import ExtractionConfig, ModelConfig
from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.features import SkippedWindow
from marlin_sdk.video.reader import Frame, VideoReader

__all__ = ["ClipCutter", "Cut", "SourceFacts"]

Cut: TypeAlias = list[Clip] | SkippedWindow
"""What becomes of a window: its clips, one for each face asked for, or why it has none."""


@dataclass(frozen=True)
class SourceFacts:
    """What is known of a video once it has been read.

    Attributes:
        name: what messages and metadata call it.
        fps: its average rate; None where it does not say.
        num_frames: as promised by the file; None where it does not say.
        duration_s: as promised by the file; None where it does not say.
        read_s: how much of it was read.
        warnings: what went wrong without ending it.
        is_damaged: whether part of it could not be read.
        detector: what found the faces, for the metadata; None where nothing was cropped.
    """

    name: str
    fps: float | None
    num_frames: int | None
    duration_s: float | None
    read_s: float
    warnings: tuple[str, ...]
    is_damaged: bool
    detector: dict[str, Any] | None


class ClipCutter:
    """Cuts videos into clips, one video at a time.

    Args:
        model: gives the frame size and the number of frames in a clip.
        find_detector: gives the detector; called when a video first needs one.
    """

    def __init__(self, model: ModelConfig, find_detector: Callable[[], FaceDetector]) -> None:
        self._model = model
        self._find_detector = find_detector
        self._detector: FaceDetector | None = None
        self._read_s = 0.0

    def cut(
        self, reader: VideoReader, config: ExtractionConfig, *, on_frame: Callable[[], object] = lambda: None
    ) -> Iterator[Cut]:
        """Cut a video, each window as soon as its last frame is there.

        Args:
            reader: its frames.
            config: how.
            on_frame: called for each frame decoded.
        Raises:
            VideoDecodeError: no frame of the part that is asked for can be had.
            ShapeError: nothing is cropped, and a frame does not have the model's size.
        """
        self._detector, self._read_s = None, 0.0
        frames = self._part(reader, config, on_frame)
        first = next(frames, None)
        if first is None:
            part = "" if config.start_s is None else f" from {config.start_s:g} s on; it ends before"
            raise VideoDecodeError(f"{reader.name} has no frame that can be decoded{part}")
        size_px = self._model.img_size
        fits = (first.height, first.width) == (size_px, size_px)
        if not fits if config.crop_face == "auto" else config.crop_face:
            self._detector = self._find_detector()
        yield from cut_clips(chain([first], frames), config, self._model, self._detector)

    def _part(
        self, reader: Iterable[Frame], config: ExtractionConfig, on_frame: Callable[[], object]
    ) -> Iterator[Frame]:
        start_s, end_s = config.start_s or 0.0, float("inf") if config.end_s is None else config.end_s
        for frame in reader:
            on_frame()
            if frame.time_s >= end_s:
                return
            if frame.time_s >= start_s or config.start_s is None:
                self._read_s += frame.duration_s
                yield frame

    def facts(self, reader: VideoReader) -> SourceFacts:
        """What is known of the video that was cut last; whole once its cuts have all been taken."""
        detector = self._detector
        found_by = None if detector is None else {"name": detector.name, **getattr(detector, "provenance", {})}
        return SourceFacts(
            name=reader.name,
            fps=reader.fps,
            num_frames=reader.num_frames,
            duration_s=reader.duration_s,
            read_s=round(self._read_s, 6),
            warnings=tuple(reader.warnings),
            is_damaged=reader.is_damaged,
            detector=found_by,
        )
