"""A reader's frames to clips: all of the pipeline that needs no torch, so that a worker process starts fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from marlin_sdk.clips.cut import Clip, cut_clips
from marlin_sdk.config import ExtractionConfig, ModelConfig
from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.features import SkippedWindow
from marlin_sdk.video.reader import Frame, VideoReader

__all__ = ["ClipCutter", "Cut", "SourceFacts", "VideoCuts"]

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
    """Cuts videos into clips.

    It keeps nothing of a video, so one cutter serves many, one after another or several at once.

    Args:
        model: gives the frame size and the number of frames in a clip.
        find_detector: gives the detector; called when a video first needs one.
    """

    def __init__(self, model: ModelConfig, find_detector: Callable[[], FaceDetector]) -> None:
        self._model = model
        self._find_detector = find_detector

    def cut(
        self, reader: VideoReader, config: ExtractionConfig, *, on_frame: Callable[[], object] = lambda: None
    ) -> VideoCuts:
        """Cut a video.

        Args:
            reader: its frames.
            config: how.
            on_frame: called for each frame decoded.
        """
        return VideoCuts(reader, config, self._model, self._find_detector, on_frame)


class VideoCuts:
    """What becomes of each window of one video, as soon as its last frame is there. Made by `ClipCutter.cut`.

    Attributes:
        reader: its frames.
        config: how it is cut.
    """

    def __init__(
        self,
        reader: VideoReader,
        config: ExtractionConfig,
        model: ModelConfig,
        find_detector: Callable[[], FaceDetector],
        on_frame: Callable[[], object],
    ) -> None:
        self.reader, self.config = reader, config
        self._model, self._find_detector, self._on_frame = model, find_detector, on_frame
        self._detector: FaceDetector | None = None
        self._read_s = 0.0

    def __iter__(self) -> Iterator[Cut]:
        """Decode, track and crop; once only, as the frames are gone then.

        Raises:
            VideoDecodeError: no frame of the part that is asked for can be had.
            ShapeError: nothing is cropped, and a frame does not have the model's size.
        """
        frames = self._part()
        first = next(frames, None)
        if first is None:
            start_s = self.config.start_s
            part = "" if start_s is None else f" from {start_s:g} s on; it ends before"
            raise VideoDecodeError(f"{self.reader.name} has no frame that can be decoded{part}")
        size_px, crop_face = self._model.img_size, self.config.crop_face
        fits = (first.height, first.width) == (size_px, size_px)
        if not fits if crop_face == "auto" else crop_face:
            self._detector = self._find_detector()
        yield from cut_clips(chain([first], frames), self.config, self._model, self._detector)

    def _part(self) -> Iterator[Frame]:
        start_s = self.config.start_s or 0.0
        end_s = float("inf") if self.config.end_s is None else self.config.end_s
        for frame in self.reader:
            self._on_frame()
            if frame.time_s >= end_s:
                return
            if frame.time_s >= start_s or self.config.start_s is None:
                self._read_s += frame.duration_s
                yield frame

    def facts(self) -> SourceFacts:
        """What is known of the video; whole once its cuts have all been taken."""
        detector, reader = self._detector, self.reader
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
