"""Face tracking: detections on some frames are linked into tracks over all frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.face.boxes import box_overlaps
from marlin_sdk.face.detections import FaceDetector, detect_one

__all__ = ["FaceTracker", "TrackedFace"]

MIN_OVERLAP = 0.2  # of a face in consecutive detections; heads seldom move further in a quarter of a second
STATIONARY_WEIGHT = 0.9  # of the overlap with a track's last box; below 1, so that crossing faces keep their tracks
SMOOTH_STEPS = 8  # reach of the median to either side: half a clip
GAP_STEPS = 8  # a face that reappears after more than half a clip starts a new track
CUT_CHANGE = 30.0  # mean absolute change of a 16x16 thumbnail, of 255; PySceneDetect's content threshold is 27


class HasPixels(Protocol):
    """A frame: anything with RGB pixels, uint8 (H, W, 3)."""

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The pixels."""


FrameT = TypeVar("FrameT", bound=HasPixels)


@dataclass(frozen=True)
class TrackedFace:
    """A face of one frame.

    Attributes:
        track_id: identifies a face within a video; numbered from 0 in order of appearance.
        box: float64 (4,), xyxy in pixels.
        score: the detector's, in [0, 1]; interpolated between two detections.
    """

    track_id: int
    box: NDArray[np.float64]
    score: float


@dataclass(eq=False)
class _Track:
    """The detections of one face: step, (centre x, centre y, width, height), box, score."""

    track_id: int
    steps: list[int] = field(default_factory=list)
    shapes: list[NDArray[np.float64]] = field(default_factory=list)
    boxes: list[NDArray[np.float64]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, step: int, box: NDArray[np.float64], score: float) -> None:
        self.steps.append(step)
        self.boxes.append(box)
        self.shapes.append(np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]]))
        self.scores.append(score)

    def at(self, step: int, reach: int) -> TrackedFace | None:
        """The face at a step: detected, or interpolated between two detections."""
        after = int(np.searchsorted(self.steps, step))
        if after == len(self.steps) or (after == 0 and self.steps[0] != step):
            return None
        if self.steps[after] == step and reach == 0:
            return TrackedFace(self.track_id, self.boxes[after], self.scores[after])
        before = after if self.steps[after] == step else after - 1
        span = self.steps[after] - self.steps[before]
        share = (step - self.steps[before]) / span if span else 0.0
        shape = (1 - share) * self._smoothed(before, reach) + share * self._smoothed(after, reach)
        score = (1 - share) * self.scores[before] + share * self.scores[after]
        box = np.concatenate([shape[:2] - shape[2:] / 2, shape[:2] + shape[2:] / 2])
        return TrackedFace(self.track_id, box, score)

    def _smoothed(self, index: int, reach: int) -> NDArray[np.float64]:
        """The median over as many detections before as after: else the box lags a moving face at a track's ends."""
        step = self.steps[index]
        first = int(np.searchsorted(self.steps, step - reach))
        last = int(np.searchsorted(self.steps, step + reach, side="right")) - 1
        half = min(index - first, last - index)
        return np.asarray(np.median(self.shapes[index - half : index + half + 1], axis=0), dtype=np.float64)

    def predicted(self, step: int) -> NDArray[np.float64]:
        """The box at a step if the face moves on as between its last two detections."""
        if len(self.steps) < 2:
            return self.boxes[-1]
        ratio = (step - self.steps[-1]) / (self.steps[-1] - self.steps[-2])
        return self.boxes[-1] + np.tile((self.shapes[-1] - self.shapes[-2])[:2] * ratio, 2)

    def drop_before(self, step: int) -> None:
        """Drop the detections that no later frame needs, so that memory does not grow with the video's length."""
        count = max(0, int(np.searchsorted(self.steps, step)) - 1)
        for column in (self.steps, self.shapes, self.boxes, self.scores):
            del column[:count]


class FaceTracker:
    """Tracks the faces of a video, with detection on every k-th frame only.

    Detection also runs on the first and last frame and on both sides of a scene cut; every track ends at a cut. Between
    two detections of a face its box is interpolated; nothing is extrapolated.

    Args:
        detector: finds the faces of a frame.
        detect_every: frames from one detection to the next, at least 1.
        smooth: take centre and size from the median over half a clip to either side.
    """

    def __init__(self, detector: FaceDetector, *, detect_every: int = 4, smooth: bool = True) -> None:
        self._detector = detector
        self._every = detect_every
        self._reach = SMOOTH_STEPS if smooth else 0
        self._gap = max(GAP_STEPS, 2 * detect_every)
        self._tracks: list[_Track] = []  # those that the frames not yet yielded may show
        self._open: list[_Track] = []  # those of them that the next detection may extend
        self._next_id = 0
        self._last_detected = -1

    def follow(self, frames: Iterable[FrameT]) -> Iterator[tuple[FrameT, list[TrackedFace]]]:
        """Yield each frame with its faces, in order, `delay` frames late.

        Args:
            frames: the sampled frames of one video.
        Raises:
            ConfigError: the detector returned an invalid box.
        """
        pending: deque[tuple[int, FrameT]] = deque()
        thumbnail = None
        for step, frame in enumerate(frames):
            rgb = frame.rgb  # read once: a large frame is converted at each access
            thumbnail, previous = _Thumbnail.of(rgb), thumbnail
            if previous is not None and thumbnail.is_cut_from(previous):
                self._detect(pending[-1][0], pending[-1][1].rgb)
                self._open = []
                self._detect(step, rgb)
            elif step == 0 or step - self._last_detected >= self._every:
                self._detect(step, rgb)
            del rgb
            pending.append((step, frame))
            while pending[0][0] + self.delay <= self._last_detected:
                yield self._finish(*pending.popleft())
        if pending:
            self._detect(pending[-1][0], pending[-1][1].rgb)
        while pending:
            yield self._finish(*pending.popleft())

    @property
    def delay(self) -> int:
        """Frames between a frame and the detection that finalises its faces: longest gap plus reach of the median."""
        return self._gap + self._reach

    def _detect(self, step: int, rgb: NDArray[np.uint8]) -> None:
        if step == self._last_detected:
            return
        found = detect_one(self._detector, rgb)
        boxes = found.boxes.astype(np.float64)
        self._open = [track for track in self._open if track.steps[-1] >= step - self._gap]
        overlaps = self._overlaps(step, boxes)
        matched: dict[int, _Track] = {}
        while overlaps.size and overlaps.max() >= MIN_OVERLAP:
            row, column = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
            matched[int(column)] = self._open[row]
            overlaps[row, :] = overlaps[:, column] = -1
        for index, box in enumerate(boxes):
            if index not in matched:
                matched[index] = _Track(self._next_id)
                self._next_id += 1
                self._open.append(matched[index])
                self._tracks.append(matched[index])
            matched[index].add(step, box, float(found.scores[index]))
        self._last_detected = step

    def _overlaps(self, step: int, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each open track with each box: by its predicted box or, with less weight, by its last box."""
        predicted = np.array([track.predicted(step) for track in self._open]).reshape(-1, 4)
        last = np.array([track.boxes[-1] for track in self._open]).reshape(-1, 4)
        return np.maximum(box_overlaps(predicted, boxes), STATIONARY_WEIGHT * box_overlaps(last, boxes))

    def _finish(self, step: int, frame: FrameT) -> tuple[FrameT, list[TrackedFace]]:
        faces = [face for track in self._tracks if (face := track.at(step, self._reach))]
        self._tracks = [track for track in self._tracks if track.steps[-1] > step or track in self._open]
        for track in self._tracks:
            track.drop_before(step - self.delay)
        return frame, faces


@dataclass(frozen=True)
class _Thumbnail:
    """A frame's shape and 16x16 thumbnail, for the detection of scene cuts."""

    shape: tuple[int, ...]
    pixels: NDArray[np.float32]

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> _Thumbnail:
        import cv2

        every = max(1, min(rgb.shape[:2]) // 64)
        small = cv2.resize(rgb[::every, ::every], (16, 16), interpolation=cv2.INTER_AREA)
        return cls(rgb.shape, small.astype(np.float32))

    def is_cut_from(self, previous: _Thumbnail) -> bool:
        return self.shape != previous.shape or bool(np.abs(self.pixels - previous.pixels).mean() > CUT_CHANGE)
