"""Cut a reader's frames into clips: the part of the pipeline without torch, so that a worker process starts fast."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from marlin_sdk.clips.cut import Clip, cut_clips
from marlin_sdk.clips.regions import RegionFinder
from marlin_sdk.config import ExtractionConfig, ModelConfig
from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.face.people import People
from marlin_sdk.face.recognition import FaceRecogniser, load_recogniser
from marlin_sdk.features import SkippedWindow
from marlin_sdk.video.reader import Frame, VideoReader

__all__ = ["ClipCutter", "Cut", "SourceFacts", "VideoCuts"]

Cut: TypeAlias = list[Clip] | SkippedWindow
"""The result for one window: its clips, one for each selected face, or why it was skipped."""


@dataclass(frozen=True)
class SourceFacts:
    """Properties of a video that has been read.

    Attributes:
        name: its name in messages and metadata.
        fps: its average frame rate; None if unknown.
        num_frames: as declared by the file; None if unknown.
        duration_s: as declared by the file; None if unknown.
        read_s: how many seconds of it were read.
        warnings: problems that did not stop the reading.
        is_damaged: whether part of it could not be read.
        detector: the face detector's name and provenance, for the metadata; None if frames were not cropped.
        recogniser: the same of the face recogniser; None if persons were not identified.
        persons: the person of each track, by `track_id`; None if persons were not identified.
        region_detector: the detector of the landmarks by which regions were pooled; None with another pool.
    """

    name: str
    fps: float | None
    num_frames: int | None
    duration_s: float | None
    read_s: float
    warnings: tuple[str, ...]
    is_damaged: bool
    detector: dict[str, Any] | None
    recogniser: dict[str, Any] | None = None
    persons: tuple[int, ...] | None = None
    region_detector: dict[str, Any] | None = None


class ClipCutter:
    """Cuts videos into clips.

    It holds no state of a video, so one cutter can serve many videos, one after another or concurrently.

    Args:
        model: defines the frame size and the number of frames in a clip.
        find_detector: returns the detector; called when a video first needs one.
        find_recogniser: returns the recogniser; called when a video first needs one.
    """

    def __init__(
        self,
        model: ModelConfig,
        find_detector: Callable[[], FaceDetector],
        find_recogniser: Callable[[], FaceRecogniser] = load_recogniser,
    ) -> None:
        self._model = model
        self._find_detector, self._find_recogniser = find_detector, find_recogniser

    def cut(
        self, reader: VideoReader, config: ExtractionConfig, *, on_frame: Callable[[], object] = lambda: None
    ) -> VideoCuts:
        """Cut a video.

        Args:
            reader: the video's frames.
            config: windows, tracking, and which faces to crop.
            on_frame: called for each decoded frame.
        Raises:
            ConfigError: `pool="regions"` with a built-in detector that gives no landmarks.
        """
        recogniser = self._find_recogniser() if config.identify else None
        regions = RegionFinder(self._find_detector(), self._model) if config.pool == "regions" else None
        return VideoCuts(reader, config, self._model, self._find_detector, recogniser, regions, on_frame)


class VideoCuts:
    """The windows of one video, each cut as soon as its last frame has been read. Made by `ClipCutter.cut`.

    Attributes:
        reader: the video's frames.
        config: windows, tracking, and which faces to crop.
        model: defines the frame size and the number of frames in a clip.
    """

    def __init__(
        self,
        reader: VideoReader,
        config: ExtractionConfig,
        model: ModelConfig,
        find_detector: Callable[[], FaceDetector],
        recogniser: FaceRecogniser | None,
        regions: RegionFinder | None,
        on_frame: Callable[[], object],
    ) -> None:
        self.reader, self.config, self.model = reader, config, model
        self._find_detector, self._on_frame = find_detector, on_frame
        self._detector: FaceDetector | None = None
        self._recogniser, self._regions = recogniser, regions
        self._people = People(recogniser) if recogniser else None
        self._read_s = 0.0

    def __iter__(self) -> Iterator[Cut]:
        """Decode, track and crop. A video can be iterated only once.

        Raises:
            VideoDecodeError: no frame of the requested time range can be decoded.
            ShapeError: frames are not cropped, and one does not have the model's size.
        """
        frames = self._frames_in_range()
        first = next(frames, None)
        if first is None:
            start_s = self.config.start_s
            part = "" if start_s is None else f" from {start_s:g} s on; it ends before that"
            raise VideoDecodeError(f"{self.reader.name} has no frame that can be decoded{part}")
        size_px, crop_face = self.model.img_size, self.config.crop_face
        fits = (first.height, first.width) == (size_px, size_px)
        if not fits if crop_face == "auto" else crop_face:
            self._detector = self._find_detector()
        frames = chain([first], frames)
        yield from cut_clips(frames, self.config, self.model, self._detector, self._people, self._regions)

    def _frames_in_range(self) -> Iterator[Frame]:
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
        """Properties of the video; complete once it has been iterated to its end."""
        reader = self.reader
        return SourceFacts(
            name=reader.name,
            fps=reader.fps,
            num_frames=reader.num_frames,
            duration_s=reader.duration_s,
            read_s=round(self._read_s, 6),
            warnings=tuple(reader.warnings),
            is_damaged=reader.is_damaged,
            detector=_provenance(self._detector),
            recogniser=_provenance(self._recogniser),
            persons=None if self._people is None else tuple(self._people.persons()),
            region_detector=_provenance(self._regions.detector if self._regions else None),
        )


def _provenance(finder: FaceDetector | FaceRecogniser | None) -> dict[str, Any] | None:
    return None if finder is None else {"name": finder.name, **getattr(finder, "provenance", {})}
