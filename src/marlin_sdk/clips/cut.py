"""Cut frames with tracked faces into clips; windows without a face are skipped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.clips.regions import RegionFinder
from marlin_sdk.clips.windows import ReferenceWindows, Window, Windows, sample, window_plan
from marlin_sdk.config import ExtractionConfig, ModelConfig
from marlin_sdk.errors import ShapeError
from marlin_sdk.face.cropping import crop_square, square_box
from marlin_sdk.face.detections import FaceDetector, detect_one
from marlin_sdk.face.people import People
from marlin_sdk.face.tracking import FaceTracker, TrackedFace
from marlin_sdk.features import FaceWindow, SkippedWindow
from marlin_sdk.video.reader import Frame

__all__ = ["Clip", "cut_clips"]

WHOLE_FRAME = -1  # track id of a frame that is used uncropped
_NO_FACE_BOX = np.array([-1.0, -1.0, 1.0, 1.0])  # marlin-pytorch's crop of a frame without a face: a 2x2 corner


@dataclass(frozen=True, kw_only=True)
class Clip(FaceWindow):
    """A window ready for the encoder.

    Attributes:
        pixels: uint8 (16, 224, 224, 3), RGB.
        regions: uint8 (8, 14, 14), bit k set where a token belongs to `REGION_POOLS[k]`; None unless `pool="regions"`.
    """

    pixels: NDArray[np.uint8]
    regions: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class _Step:
    """A sampled frame with its faces.

    A step is stale if its own frame is missing from the video, and a frame beside the hole stands in for it.
    """

    index: int
    frame: Frame
    faces: list[TrackedFace]
    is_stale: bool = False


def cut_clips(
    frames: Iterable[Frame],
    config: ExtractionConfig,
    model: ModelConfig,
    detector: FaceDetector | None,
    people: People | None = None,
    regions: RegionFinder | None = None,
) -> Iterator[list[Clip] | SkippedWindow]:
    """Cut a video into clips, each as soon as its last frame has been read.

    Args:
        frames: every frame of the video, in order; only sampled frames are converted to RGB.
        config: windows, tracking, and which faces to crop.
        model: defines the frame size and the number of frames in a clip.
        detector: finds the faces; None uses the frames uncropped.
        people: joins the tracks of one person; None leaves them apart.
        regions: finds the regions of the face in each clip; None leaves them out.
    Yields:
        For each window its clips (one for each face that `config.faces` selects), or why it was skipped.
    Raises:
        ShapeError: frames are not cropped, and one does not have the model's size.
    """
    plan = window_plan(config, model.n_frames)
    steps = _sample(frames, plan, config)
    if detector is None:
        tracked = _whole_frames(steps, model.img_size)
    else:
        tracked = _with_faces(steps, plan, config, detector, people)
    buffered: dict[int, _Step] = {}
    crops = _CropCache(model.img_size)
    index, num_steps = 0, 0
    for step in _mark_stale(tracked, config.fps):
        if step.index >= plan.start(index):  # skips the steps between two windows
            buffered[step.index] = step
            if step.frame.is_large:
                crops.cut_all(step)
        num_steps = step.index + 1
        while window := plan.ready(index, num_steps):
            yield _cut(window, buffered, crops, config, regions)
            index += 1
            for expired in [buffered_index for buffered_index in buffered if buffered_index < plan.start(index)]:
                del buffered[expired]
            crops.drop_before(plan.start(index))
    while window := plan.rest(index, num_steps):
        yield _cut(window, buffered, crops, config, regions)
        index += 1


def _sample(
    frames: Iterable[Frame], plan: Windows | ReferenceWindows, config: ExtractionConfig
) -> Iterator[tuple[int, Frame]]:
    if isinstance(plan, ReferenceWindows):
        # a count instead of `frame.index`: a folder of images skips the indices of broken images
        return ((step, frame) for step, frame in enumerate(frames) if plan.uses(step))
    return enumerate(sample(frames, config))


def _mark_stale(steps: Iterable[_Step], fps: float | None) -> Iterator[_Step]:
    """Mark the steps of a resampled video that fall into a hole, and show the frame before or after it."""
    origin_s: float | None = None
    frame: Frame | None = None
    missing_s = 0.0  # right before the frame
    for step in steps:
        if fps is None:
            yield step
            continue
        if step.frame is not frame:
            missing_s = step.frame.missing_s - (frame.missing_s if frame else 0.0)
            frame = step.frame
        origin_s = frame.time_s if origin_s is None else origin_s
        tick_s = origin_s + step.index / fps
        late = tick_s > frame.time_s + frame.duration_s + 1 / fps
        early = missing_s > 0 and tick_s < frame.time_s - 1 / fps
        yield replace(step, is_stale=True) if late or early else step


def _whole_frames(steps: Iterable[tuple[int, Frame]], size_px: int) -> Iterator[_Step]:
    for index, frame in steps:
        if (frame.height, frame.width) != (size_px, size_px):
            raise ShapeError(
                f"frame {frame.index} is {frame.width}x{frame.height}; without cropping, frames must be "
                f'{size_px}x{size_px}: pass crop_face=True (or "auto"), or scale the video'
            )
        whole = np.array([0, 0, size_px, size_px], dtype=np.float64)
        yield _Step(index, frame, [TrackedFace(WHOLE_FRAME, whole, float("nan"))])


def _with_faces(
    steps: Iterable[tuple[int, Frame]],
    plan: Windows | ReferenceWindows,
    config: ExtractionConfig,
    detector: FaceDetector,
    people: People | None,
) -> Iterator[_Step]:
    if isinstance(plan, ReferenceWindows):
        for index, frame in steps:
            found = detect_one(detector, frame.rgb)
            best = (found.boxes[0].astype(np.float64), float(found.scores[0])) if len(found) else (_NO_FACE_BOX, 0.0)
            yield _Step(index, frame, [TrackedFace(0, *best)])
        return
    tracker = FaceTracker(detector, detect_every=config.detect_every, smooth=config.smooth, people=people)
    sampled = (frame for _, frame in steps)
    for index, (frame, faces) in enumerate(tracker.follow(sampled)):
        yield _Step(index, frame, faces)


def _cut(
    window: Window,
    buffered: dict[int, _Step],
    crops: _CropCache,
    config: ExtractionConfig,
    regions: RegionFinder | None,
) -> list[Clip] | SkippedWindow:
    """The clips of one window, the most prominent face first, or the reason why it is skipped."""
    steps = [buffered[index] for index in window.steps]
    within = [step for step, valid in zip(steps, window.valid, strict=True) if valid]
    real = [step for step in within if not step.is_stale]
    start_s, end_s = within[0].frame.time_s, within[-1].frame.time_s + within[-1].frame.duration_s
    if (missing_s := _missing_s(within, config.fps)) is not None:
        return SkippedWindow(start_s, end_s, f"{missing_s:.2f} s of the video are missing within it")
    seen: dict[int, list[TrackedFace]] = {}
    for step in real:
        for face in step.faces:
            seen.setdefault(face.track_id, []).append(face)
    if config.track is not None:
        seen = {track: faces for track, faces in seen.items() if track == config.track}
    needed = (len(real) + 1) // 2
    tracks = sorted(
        (track for track in seen if len(seen[track]) >= needed), key=lambda track: -_prominence(seen[track])
    )
    if not tracks:
        return SkippedWindow(start_s, end_s, _skip_reason(real, seen, needed, config.track))
    if config.faces in ("left", "right"):
        tracks.sort(key=lambda track: _centre_x(seen[track]), reverse=config.faces == "right")
    if config.faces != "all":
        tracks = tracks[:1]
    valid = tuple(valid and not step.is_stale for step, valid in zip(steps, window.valid, strict=True))
    return [_clip(steps, valid, track, crops, regions, start_s, end_s) for track in tracks]


def _missing_s(steps: list[_Step], fps: float | None) -> float | None:
    """How much of the video is missing within a window, if that is more than half of it."""
    lost_s = [later.frame.missing_s - earlier.frame.missing_s for earlier, later in pairwise(steps)]
    if fps is not None:
        stale = sum(step.is_stale for step in steps)
        return stale / fps if 2 * stale > len(steps) else None
    span_s = steps[-1].frame.time_s - steps[0].frame.time_s - sum(lost_s)
    step_s = span_s / max(1, len(steps) - 1)
    return sum(lost_s) if max(lost_s, default=0.0) > len(steps) / 2 * step_s else None


def _skip_reason(real: list[_Step], seen: dict[int, list[TrackedFace]], needed: int, track: int | None) -> str:
    longest = max(map(len, seen.values()), default=0)
    if not longest:
        return "no face"
    with_face = sum(1 for step in real if step.faces)
    if track is None and with_face >= needed:  # at scene cuts, or where tracks break
        return (
            f"faces in {with_face} of {len(real)} frames, but the longest-seen one in only {longest}; "
            f"{needed} are needed"
        )
    name = "a face" if track is None else f"face {track}"
    return f"{name} in only {longest} of {len(real)} frames; {needed} are needed"


def _clip(
    steps: list[_Step],
    valid: tuple[bool, ...],
    track: int,
    crops: _CropCache,
    regions: RegionFinder | None,
    start_s: float,
    end_s: float,
) -> Clip:
    """The clip of one track; a frame without the face is replaced by the nearest frame that shows it."""
    faces = [next((face for face in step.faces if face.track_id == track), None) for step in steps]
    present = [position for position, face in enumerate(faces) if face]
    nearest = [min(present, key=lambda other: abs(other - position)) for position in range(len(steps))]
    chosen = [(steps[position], faces[position]) for position in nearest]
    cuts = [crops.cut(step, face) for step, face in chosen if face]
    pixels, squares = np.stack([crop for crop, _ in cuts]), np.array([square for _, square in cuts])
    return Clip(
        pixels=pixels,
        regions=regions.find(pixels, squares, [face.landmarks for _, face in chosen if face]) if regions else None,
        start_s=start_s,
        end_s=end_s,
        frame_index=np.array([step.frame.index for step, _ in chosen], dtype=np.int64),
        frame_valid=np.array([ok and face is not None for ok, face in zip(valid, faces, strict=True)]),
        boxes=squares.astype(np.float32),
        face_score=np.array([face.score if face else 0.0 for face in faces], dtype=np.float32),
        track_id=track,
    )


def _prominence(faces: Sequence[TrackedFace]) -> float:
    """The area of a face summed over a window, weighted by the detector's score."""
    return float(sum(np.prod(face.box[2:] - face.box[:2]) * face.score for face in faces))


def _centre_x(faces: Sequence[TrackedFace]) -> float:
    return float(np.mean([(face.box[0] + face.box[2]) / 2 for face in faces]))


class _CropCache:
    """The crops of buffered frames, so that overlapping windows crop no frame twice."""

    def __init__(self, size_px: int) -> None:
        self._size_px = size_px
        self._crops: dict[tuple[int, int], tuple[NDArray[np.uint8], NDArray[np.int64]]] = {}

    def cut(self, step: _Step, face: TrackedFace) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """The pixels of a face, and the square they were cut from."""
        key = (step.index, face.track_id)
        if key not in self._crops:
            self._crops[key] = self._cut(step.frame.rgb, face)
        return self._crops[key]

    def cut_all(self, step: _Step) -> None:
        """Crop every face of a large frame now, so that it is converted only once and then released."""
        rgb = step.frame.rgb if step.faces else None
        for face in step.faces:
            assert rgb is not None
            self._crops[step.index, face.track_id] = self._cut(rgb, face)
        step.frame.release()

    def _cut(self, rgb: NDArray[np.uint8], face: TrackedFace) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        square = square_box(face.box)
        whole = face.track_id == WHOLE_FRAME
        return rgb if whole else crop_square(rgb, square, self._size_px), square

    def drop_before(self, step: int) -> None:
        """Drop the crops of the frames before a step."""
        self._crops = {key: crop for key, crop in self._crops.items() if key[0] >= step}
