"""Detections on some frames to tracks over all of them."""

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

MIN_OVERLAP = 0.2  # of a face with itself at the next look; heads seldom move further in a quarter of a second
STAYED = 0.9  # so that of two faces that pass each other each keeps its own way
SMOOTH_STEPS = 8  # reach of the median to either side: half a clip
GAP_STEPS = 8  # a face unseen for longer than half a clip is another track when it returns
CUT_CHANGE = 30.0  # mean absolute change of a 16x16 thumbnail, of 255; PySceneDetect's content threshold is 27


class HasPixels(Protocol):
    """A frame: whatever has RGB pixels, uint8 (H, W, 3)."""

    @property
    def rgb(self) -> NDArray[np.uint8]:
        """The pixels."""


FrameT = TypeVar("FrameT", bound=HasPixels)


@dataclass(frozen=True)
class TrackedFace:
    """A face of one frame.

    Attributes:
        track_id: tells faces of a video apart; counts from 0 in order of appearance.
        box: float64 (4,), xyxy in pixels.
        score: the detector's, in [0, 1]; between two looks, in between.
    """

    track_id: int
    box: NDArray[np.float64]
    score: float


@dataclass(eq=False)
class _Track:
    """Where one face was seen: step, (centre x, centre y, width, height), score."""

    track_id: int
    steps: list[int] = field(default_factory=list)
    shapes: list[NDArray[np.float64]] = field(default_factory=list)
    boxes: list[NDArray[np.float64]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def see(self, step: int, box: NDArray[np.float64], score: float) -> None:
        self.steps.append(step)
        self.boxes.append(box)
        self.shapes.append(np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]]))
        self.scores.append(score)

    def at(self, step: int, reach: int) -> TrackedFace | None:
        """The face at a step: seen, or between two looks that saw it."""
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
        """The median over as many looks before as after: at the ends of its track a moving face would lag otherwise."""
        here = self.steps[index]
        first = int(np.searchsorted(self.steps, here - reach))
        last = int(np.searchsorted(self.steps, here + reach, side="right")) - 1
        aside = min(index - first, last - index)
        return np.asarray(np.median(self.shapes[index - aside : index + aside + 1], axis=0), dtype=np.float64)

    def expected(self, step: int) -> NDArray[np.float64]:
        """Where its box would be if it went on as it moved between its last two looks."""
        if len(self.steps) < 2:
            return self.boxes[-1]
        ahead = (step - self.steps[-1]) / (self.steps[-1] - self.steps[-2])
        return self.boxes[-1] + np.tile((self.shapes[-1] - self.shapes[-2])[:2] * ahead, 2)

    def forget(self, before_step: int) -> None:
        """Drop what no frame still to come can ask for, so that a long video needs no more memory than a short one."""
        drop = max(0, int(np.searchsorted(self.steps, before_step)) - 1)
        for kept in (self.steps, self.shapes, self.boxes, self.scores):
            del kept[:drop]


class FaceTracker:
    """Follows the faces of a video, looking for them on every k-th frame only.

    A look also happens on the first and last frame and on both sides of a scene cut; at a cut every track ends. Between
    two looks that saw a face its box is interpolated; nothing is extrapolated.

    Args:
        detector: what finds faces in a frame.
        detect_every: frames from one look to the next, at least 1.
        smooth: take centre and size from the median over half a clip to either side.
    """

    def __init__(self, detector: FaceDetector, *, detect_every: int = 4, smooth: bool = True) -> None:
        self._detector = detector
        self._every = detect_every
        self._reach = SMOOTH_STEPS if smooth else 0
        self._gap = max(GAP_STEPS, 2 * detect_every)
        self._tracks: list[_Track] = []  # all that frames still to come may show
        self._open: list[_Track] = []  # those of them that the next look may extend
        self._next_id = 0
        self._last_look = -1

    def follow(self, frames: Iterable[FrameT]) -> Iterator[tuple[FrameT, list[TrackedFace]]]:
        """Yield each frame with its faces, in order, `delay` frames late.

        Args:
            frames: the sampled frames of one video.
        Raises:
            ConfigError: the detector gave something that is no box.
        """
        waiting: deque[tuple[int, FrameT]] = deque()
        picture = None
        for step, frame in enumerate(frames):
            rgb = frame.rgb  # once: a large frame is converted anew at each use
            picture, before = _Picture.of(rgb), picture
            if before is not None and picture.is_cut_from(before):
                self._look(waiting[-1][0], waiting[-1][1].rgb)
                self._open = []
                self._look(step, rgb)
            elif step == 0 or step - self._last_look >= self._every:
                self._look(step, rgb)
            del rgb
            waiting.append((step, frame))
            while waiting[0][0] + self.delay <= self._last_look:
                yield self._settle(*waiting.popleft())
        if waiting:
            self._look(waiting[-1][0], waiting[-1][1].rgb)
        while waiting:
            yield self._settle(*waiting.popleft())

    @property
    def delay(self) -> int:
        """Frames between one and the look that settles its faces: the longest gap, and the reach of the median."""
        return self._gap + self._reach

    def _look(self, step: int, rgb: NDArray[np.uint8]) -> None:
        if step == self._last_look:
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
            matched[index].see(step, box, float(found.scores[index]))
        self._last_look = step

    def _overlaps(self, step: int, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of each open track with each box: where it would have moved to, or, counting for less, where it last was."""
        moved = np.array([track.expected(step) for track in self._open]).reshape(-1, 4)
        stayed = np.array([track.boxes[-1] for track in self._open]).reshape(-1, 4)
        return np.maximum(box_overlaps(moved, boxes), STAYED * box_overlaps(stayed, boxes))

    def _settle(self, step: int, frame: FrameT) -> tuple[FrameT, list[TrackedFace]]:
        faces = [face for track in self._tracks if (face := track.at(step, self._reach))]
        self._tracks = [track for track in self._tracks if track.steps[-1] > step or track in self._open]
        for track in self._tracks:
            track.forget(step - self.delay)
        return frame, faces


@dataclass(frozen=True)
class _Picture:
    """What is kept of a frame to tell a scene cut by."""

    shape: tuple[int, ...]
    thumbnail: NDArray[np.float32]

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> _Picture:
        import cv2

        every = max(1, min(rgb.shape[:2]) // 64)
        small = cv2.resize(rgb[::every, ::every], (16, 16), interpolation=cv2.INTER_AREA)
        return cls(rgb.shape, small.astype(np.float32))

    def is_cut_from(self, before: _Picture) -> bool:
        return self.shape != before.shape or bool(np.abs(self.thumbnail - before.thumbnail).mean() > CUT_CHANGE)
