"""Face tracking: detections on some frames are linked into tracks over all frames."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.face.boxes import box_overlaps
from marlin_sdk.face.continuity import FrameSketch, is_abrupt
from marlin_sdk.face.detections import FaceDetector, detect_one
from marlin_sdk.face.people import People

__all__ = ["FaceTracker", "TrackedFace"]

MIN_OVERLAP = 0.2  # of a face in consecutive detections; heads seldom move further in a quarter of a second
STATIONARY_WEIGHT = 0.9  # of the overlap with a track's last box; below 1, so that crossing faces keep their tracks
SMOOTH_STEPS = 8  # reach of the median to either side: half a clip
GAP_STEPS = 8  # a face that reappears after more than half a clip starts a new track
SCENE_CHANGE = 30.0  # of the thumbnails, of 255: a cut even where the frames around it change as much
SCENE_RATIO, MIN_SCENE_CHANGE = 3.0, 3.0  # dark scenes and equal backgrounds differ by as little as 6 at a cut
FACE_RATIO, MIN_FACE_CHANGE = 4.0, 0.1  # between people: at least 0.25, and 10 times the changes around it
SAME_FACE = 0.93  # similarity of one face in consecutive frames; of two people in one place, 0.90 at most
OTHER_FACE = 0.7  # below this they differ even where the change is not abrupt


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
        landmarks: float64 (5, 2), as in `Detections`, interpolated but not smoothed; NaN if the detector gives none;
            None if none ran.
    """

    track_id: int
    box: NDArray[np.float64]
    score: float
    landmarks: NDArray[np.float64] | None = None


@dataclass(eq=False)
class _Track:
    """The detections of one face: step, (centre x, centre y, width, height), box, score, landmarks; its last sketch.

    A track is in doubt from an abrupt change on, until a detection shows the same face.
    """

    track_id: int
    steps: list[int] = field(default_factory=list)
    shapes: list[NDArray[np.float64]] = field(default_factory=list)
    boxes: list[NDArray[np.float64]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    landmarks: list[NDArray[np.float64]] = field(default_factory=list)
    sketch: FrameSketch | None = None
    is_in_doubt: bool = False

    def add(
        self,
        step: int,
        box: NDArray[np.float64],
        score: float,
        landmarks: NDArray[np.float64],
        sketch: FrameSketch,
    ) -> None:
        self.steps.append(step)
        self.boxes.append(box)
        self.shapes.append(np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]]))
        self.scores.append(score)
        self.landmarks.append(landmarks)
        self.sketch, self.is_in_doubt = sketch, False

    def is_same_face(self, sketch: FrameSketch, box: NDArray[np.float64], seam: _Seam | None) -> bool:
        """Whether a face behind an abrupt change is the one in front of it.

        Args:
            sketch: of the frame behind.
            box: of the face in it.
            seam: the change, where it lies between the last detection and this one.
        """
        assert self.sketch is not None
        if sketch.shape != self.sketch.shape:
            return False
        similarity = sketch.face_similarity(box, self.sketch, self.boxes[-1])
        if similarity is None:
            return seam is None or seam.scene_change <= SCENE_CHANGE
        if similarity >= SAME_FACE:
            return True
        return similarity >= OTHER_FACE and (seam is None or not seam.is_face_doubtful(self))

    def at(self, step: int, reach: int) -> TrackedFace | None:
        """The face at a step: detected, or interpolated between two detections."""
        after = int(np.searchsorted(self.steps, step))
        if after == len(self.steps) or (after == 0 and self.steps[0] != step):
            return None
        if self.steps[after] == step and reach == 0:
            return TrackedFace(self.track_id, self.boxes[after], self.scores[after], self.landmarks[after])
        before = after if self.steps[after] == step else after - 1
        span = self.steps[after] - self.steps[before]
        share = (step - self.steps[before]) / span if span else 0.0
        shape = (1 - share) * self._smoothed(before, reach) + share * self._smoothed(after, reach)
        score = (1 - share) * self.scores[before] + share * self.scores[after]
        box = np.concatenate([shape[:2] - shape[2:] / 2, shape[:2] + shape[2:] / 2])
        landmarks = (1 - share) * self.landmarks[before] + share * self.landmarks[after]
        return TrackedFace(self.track_id, box, score, landmarks)

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
        for column in (self.steps, self.shapes, self.boxes, self.scores, self.landmarks):
            del column[:count]


class FaceTracker:
    """Tracks the faces of a video, with detection on every k-th frame only.

    Detection also runs on the first and last frame, and on both sides of a step where the picture, or a face in it,
    changes abruptly. There a track continues only if the face is the same on both sides. Between two detections of a
    face its box is interpolated; nothing is extrapolated.

    Args:
        detector: finds the faces of a frame.
        detect_every: frames from one detection to the next, at least 1.
        smooth: take centre and size from the median over half a clip to either side.
        people: is shown each detection with its tracks; None leaves out who they are.
    """

    def __init__(
        self, detector: FaceDetector, *, detect_every: int = 4, smooth: bool = True, people: People | None = None
    ) -> None:
        self._detector = detector
        self._people = people
        self._every = detect_every
        self._reach = SMOOTH_STEPS if smooth else 0
        self._gap = max(GAP_STEPS, 2 * detect_every)
        self._tracks: list[_Track] = []  # those that the frames not yet yielded may show
        self._open: list[_Track] = []  # those of them that the next detection may extend
        self._next_id = 0
        self._last_detected = -1
        self._sketches: deque[FrameSketch] = deque(maxlen=4)

    def follow(self, frames: Iterable[FrameT]) -> Iterator[tuple[FrameT, list[TrackedFace]]]:
        """Yield each frame with its faces, in order, at most `delay` frames late.

        Args:
            frames: the sampled frames of one video.
        Raises:
            ConfigError: the detector returned an invalid box.
        """
        pending: deque[tuple[int, FrameT]] = deque()
        held: NDArray[np.uint8] | None = None  # pixels of the newest frame, read once: a large frame is converted anew
        for step, frame in enumerate(frames):
            rgb = frame.rgb
            self._sketches.append(FrameSketch.of(rgb))
            if held is not None:  # one frame late, since a cut is told by the frames on both sides of it
                self._process(step - 1, held, pending, after=True)
            held = rgb
            pending.append((step, frame))
            while pending[0][0] + self._settling <= self._last_detected:
                yield self._finish(*pending.popleft())
        if held is not None:
            last = pending[-1][0]
            self._process(last, held, pending, after=False)
            self._detect(last, held, self._sketches[-1])
        while pending:
            yield self._finish(*pending.popleft())

    @property
    def delay(self) -> int:
        """Frames from one to the detection that makes its faces final, and the one that rules out a cut before it."""
        return self._settling + 1

    @property
    def _settling(self) -> int:
        """The longest gap, plus the reach of the median."""
        return self._gap + self._reach

    def _process(self, step: int, rgb: NDArray[np.uint8], pending: deque[tuple[int, FrameT]], *, after: bool) -> None:
        """Detect at a step where it is time, or where the picture or a face changes abruptly.

        Args:
            step: the step.
            rgb: its pixels.
            pending: frames up to this one.
            after: whether the newest sketch is of the frame behind it.
        """
        sketch = self._sketches[-2 if after else -1]
        seam = _Seam.at(self._sketches, [track.boxes[-1] for track in self._open], after=after)
        if seam is not None and (seam.is_scene_doubtful or any(map(seam.is_face_doubtful, self._open))):
            if self._last_detected != step - 1:
                previous = next(frame for earlier, frame in reversed(pending) if earlier == step - 1)
                self._detect(step - 1, previous.rgb, seam.sketches[1])
            self._detect(step, rgb, sketch, seam)
        elif step == 0 or step - self._last_detected >= self._every:
            self._detect(step, rgb, sketch)

    def _detect(self, step: int, rgb: NDArray[np.uint8], sketch: FrameSketch, seam: _Seam | None = None) -> None:
        """Detect the faces of a frame, and link them to the open tracks.

        Args:
            step: the step; a second call for it does nothing.
            rgb: its pixels.
            sketch: of the same frame.
            seam: what lies between this step and the one before, where that is doubtful.
        """
        if step == self._last_detected:
            return
        found = detect_one(self._detector, rgb)
        boxes = found.boxes.astype(np.float64)
        self._open = [track for track in self._open if track.steps[-1] >= step - self._gap]
        overlaps = self._overlaps(step, boxes)
        for row, track in enumerate(self._open):
            if seam is not None and (seam.is_scene_doubtful or seam.is_face_doubtful(track)):
                track.is_in_doubt = True
            for index, box in enumerate(boxes) if track.is_in_doubt else ():
                if overlaps[row, index] >= MIN_OVERLAP and not track.is_same_face(sketch, box, seam):
                    overlaps[row, index] = -1
        matched: dict[int, _Track] = {}
        while overlaps.size and overlaps.max() >= MIN_OVERLAP:
            best, column = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
            matched[int(column)] = self._open[best]
            overlaps[best, :] = overlaps[:, column] = -1
        if seam is not None and seam.is_scene_doubtful:  # a face that is not on the other side of a cut is gone
            self._open = [track for track in self._open if track in matched.values()]
        has_landmarks = np.shape(found.landmarks) == (len(boxes), 5, 2)  # a detector of one's own may leave them out
        landmarks = found.landmarks.astype(np.float64) if has_landmarks else np.full((len(boxes), 5, 2), np.nan)
        for index, box in enumerate(boxes):
            if index not in matched:
                matched[index] = _Track(self._next_id)
                self._next_id += 1
                self._open.append(matched[index])
                self._tracks.append(matched[index])
            matched[index].add(step, box, float(found.scores[index]), landmarks[index], sketch)
        if self._people is not None and matched:
            self._people.see(rgb, found, {index: track.track_id for index, track in matched.items()})
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
class _Seam:
    """What changes between a frame and the one before it, beside the changes one frame earlier and later.

    Attributes:
        sketches: of the frames at steps -2, -1, 0 and 1; None where there is none.
        faces: boxes of the tracked faces, which may be covered or uncovered without a cut.
    """

    sketches: tuple[FrameSketch | None, FrameSketch, FrameSketch, FrameSketch | None]
    faces: tuple[NDArray[np.float64], ...]

    @classmethod
    def at(cls, sketches: Sequence[FrameSketch], faces: Sequence[NDArray[np.float64]], *, after: bool) -> _Seam | None:
        """The seam before the newest frame, or the one before that; None at the start of a video."""
        known: list[FrameSketch | None] = [*sketches] if after else [*sketches, None]
        if len(known) < 3:
            return None
        earlier = known[-4] if len(known) > 3 else None
        before, here = known[-3], known[-2]
        assert before is not None
        assert here is not None
        return cls((earlier, before, here, known[-1]), tuple(faces))

    @property
    def scene_change(self) -> float:
        """How much the whole picture changes here, 0 to 255."""
        return self.sketches[2].change_from(self.sketches[1])

    @cached_property
    def is_scene_doubtful(self) -> bool:
        """Whether the whole picture may be cut here; a change of its size is a cut."""
        if self.sketches[1].shape != self.sketches[2].shape:
            return True
        change, before, after = self._changes(lambda here, there: here.change_from(there, self.faces))
        is_isolated = change > MIN_SCENE_CHANGE and is_abrupt(before, change, after, ratio=SCENE_RATIO)
        return is_isolated or self.scene_change > SCENE_CHANGE

    def is_face_doubtful(self, track: _Track) -> bool:
        """Whether the picture at a face changes as it does where another face takes its place."""
        if self.sketches[1].shape != self.sketches[2].shape:
            return True
        box = track.boxes[-1]
        change, before, after = self._changes(lambda here, there: here.face_change_from(there, box))
        return change > MIN_FACE_CHANGE and is_abrupt(before, change, after, ratio=FACE_RATIO)

    def _changes(self, change: Callable[[FrameSketch, FrameSketch], float]) -> tuple[float, float | None, float | None]:
        """The change here, one frame earlier and one later; None where there is no frame of the same size."""
        earlier, before, here, later = self.sketches
        return (
            change(here, before),
            change(before, earlier) if earlier is not None and earlier.shape == before.shape else None,
            change(later, here) if later is not None and later.shape == here.shape else None,
        )
