"""Face tracking: detections on some frames, boxes on all of them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from marlin_sdk import ConfigError, Detections
from marlin_sdk.face.boxes import box_overlaps
from marlin_sdk.face.detectors import load_detector
from marlin_sdk.face.tracking import FaceTracker, TrackedFace
from marlin_sdk.video.reader import open_video

Box = tuple[float, float, float, float]
Scene = Mapping[int, Sequence[Box]]


@dataclass(eq=False)
class Still:
    """A frame that carries its number in its first two pixels, and a shade elsewhere."""

    rgb: NDArray[np.uint8]

    @classmethod
    def of(cls, step: int, shade: int = 90) -> Still:
        rgb = np.full((64, 96, 3), shade, dtype=np.uint8)
        rgb[0, 0] = (step % 256, step // 256, 0)
        return cls(rgb)


class Scripted:
    """A detector that returns scripted boxes, and records the frames on which it ran."""

    name = "scripted"

    def __init__(self, scene: Scene | Callable[[int], Sequence[Box]]) -> None:
        self._scene = scene
        self.detected: list[int] = []

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        found = []
        for frame in frames:
            step = int(frame[0, 0, 0]) + 256 * int(frame[0, 0, 1])
            self.detected.append(step)
            boxes = self._scene(step) if callable(self._scene) else self._scene.get(step, ())
            found.append(Detections.from_rows(boxes, [0.9 - 0.1 * place for place in range(len(boxes))]))
        return found


def follow(
    scene: Scene | Callable[[int], Sequence[Box]],
    num_steps: int,
    *,
    shades: Mapping[int, int] | None = None,
    **how: Any,
) -> tuple[list[list[TrackedFace]], list[int]]:
    """The faces of each step, and the steps with detection."""
    detector = Scripted(scene)
    stills = (Still.of(step, (shades or {}).get(step, 90)) for step in range(num_steps))
    return [faces for _, faces in FaceTracker(detector, **how).follow(stills)], detector.detected


def centre(face: TrackedFace) -> float:
    return float(face.box[0] + face.box[2]) / 2


def by_track(frames: Iterable[Sequence[TrackedFace]]) -> dict[int, dict[int, TrackedFace]]:
    tracks: dict[int, dict[int, TrackedFace]] = {}
    for step, faces in enumerate(frames):
        for face in faces:
            tracks.setdefault(face.track_id, {})[step] = face
    return tracks


def moving(step: int) -> list[Box]:
    return [(10.0 + step, 20.0 + step / 2, 50.0 + step, 60.0 + step / 2)]


@given(st.integers(1, 60), st.integers(1, 9))
def test_detection_runs_on_every_kth_frame_and_the_last(num_steps: int, every: int) -> None:
    frames, detected = follow(moving, num_steps, detect_every=every)
    assert detected == sorted({*range(0, num_steps, every), num_steps - 1})
    assert [len(faces) for faces in frames] == [1] * num_steps


@given(st.integers(1, 50), st.integers(1, 9), st.booleans())
def test_face_in_uniform_motion_has_no_lag(num_steps: int, every: int, smooth: bool) -> None:
    """Interpolated or smoothed, in the middle and at both ends, where a one-sided median would lag."""
    frames, _ = follow(moving, num_steps, detect_every=every, smooth=smooth)
    for step, (face,) in enumerate(frames):
        np.testing.assert_allclose(face.box, moving(step)[0], atol=1e-3)
        assert face.score == pytest.approx(0.9)


@given(
    st.dictionaries(st.integers(0, 30), st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(38, 45))),
    st.integers(1, 31),
)
def test_without_interpolation_and_smoothing_boxes_are_the_detectors(
    seen: dict[int, tuple[int, int, int]], num_steps: int
) -> None:
    scene = {step: [(x / 8, y / 8, x / 8 + side, y / 8 + side + 7.125)] for step, (x, y, side) in seen.items()}
    frames, detected = follow(scene, num_steps, detect_every=1, smooth=False)
    assert detected == list(range(num_steps))
    for step in range(num_steps):
        if step in scene:
            (face,) = frames[step]
            assert tuple(face.box) == scene[step][0]
            assert face.score == pytest.approx(0.9)


@given(st.integers(1, 8))
def test_gap_is_filled_from_both_sides(gap: int) -> None:
    before, after = (10.0, 10.0, 50.0, 50.0), (18.0, 14.0, 66.0, 62.0)
    frames, _ = follow({5: [before], 5 + gap: [after]}, 20, detect_every=1, smooth=False)
    tracks = by_track(frames)
    assert list(tracks) == [0]
    assert list(tracks[0]) == list(range(5, 6 + gap))  # nothing before the first detection, nothing after the last
    for step, face in tracks[0].items():
        share = (step - 5) / gap
        np.testing.assert_allclose(face.box, (1 - share) * np.array(before) + share * np.array(after), atol=1e-4)


def test_face_that_returns_after_a_longer_gap_starts_a_new_track() -> None:
    box = (10.0, 10.0, 50.0, 50.0)
    frames, _ = follow({5: [box], 14: [box]}, 20, detect_every=1, smooth=False)
    assert {track: list(faces) for track, faces in by_track(frames).items()} == {0: [5], 1: [14]}


def test_one_missed_detection_ends_no_track_at_any_interval() -> None:
    box = (10.0, 10.0, 50.0, 50.0)
    frames, detected = follow({0: [box], 24: [box]}, 25, detect_every=12)
    assert detected == [0, 12, 24]
    assert [[face.track_id for face in faces] for faces in frames] == [[0]] * 25


def test_median_ignores_a_single_outlier() -> None:
    scene = {step: [(10.0, 10.0, 50.0, 50.0)] for step in range(33)}
    scene[16] = [(20.0, 4.0, 70.0, 54.0)]
    smooth, _ = follow(scene, 33, detect_every=1)
    raw, _ = follow(scene, 33, detect_every=1, smooth=False)
    assert all(tuple(faces[0].box) == (10, 10, 50, 50) for faces in smooth)
    assert tuple(raw[16][0].box) == (20, 4, 70, 54)


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(36, 44), st.integers(36, 44)), min_size=1))
def test_smoothing_is_the_median_of_centre_and_size_over_half_a_clip_to_either_side(
    rows: list[tuple[int, int, int, int]],
) -> None:
    shapes = np.array([(x + w / 2, y + h / 2, w, h) for x, y, w, h in rows])
    scene = {step: [(x, y, x + w, y + h)] for step, (x, y, w, h) in enumerate(rows)}
    frames, _ = follow(scene, len(rows), detect_every=1)
    for step, (face,) in enumerate(frames):
        reach = min(8, step, len(rows) - 1 - step)  # as far to one side as to the other
        x, y, w, h = np.median(shapes[step - reach : step + reach + 1], axis=0)
        np.testing.assert_allclose(face.box, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], atol=1e-4)


@pytest.mark.parametrize("cut", [1, 6, 7, 8, 19])
def test_scene_cut_starts_a_new_track_with_detection_on_both_sides(cut: int) -> None:
    first, second = (10.0, 10.0, 50.0, 50.0), (14.0, 10.0, 54.0, 50.0)
    shades = dict.fromkeys(range(cut, 20), 200)
    frames, detected = follow(lambda step: [first if step < cut else second], 20, shades=shades)
    assert {cut - 1, cut} <= set(detected)
    assert len(detected) == len(set(detected))
    for step, (face,) in enumerate(frames):
        assert face.track_id == int(step >= cut)
        np.testing.assert_allclose(face.box, first if step < cut else second)  # neither blended nor smoothed across


def test_slow_change_of_brightness_is_not_a_cut() -> None:
    frames, _ = follow(moving, 40, shades={step: 40 + 5 * step for step in range(40)})
    assert {face.track_id for faces in frames for face in faces} == {0}


def test_change_of_frame_size_is_a_cut() -> None:
    stills = [Still.of(step) for step in range(4)] + [Still(np.full((128, 96, 3), 90, np.uint8)) for _ in range(4)]
    detector = Scripted(lambda step: [(10.0, 10.0, 50.0, 50.0)])
    tracks = [face.track_id for _, faces in FaceTracker(detector).follow(stills) for face in faces]
    assert tracks == [0] * 4 + [1] * 4


def test_faces_of_different_size_that_cross_keep_their_tracks() -> None:
    def scene(step: int) -> list[Box]:
        near, far = 40.0 + 2 * step, 160.0 - 2 * step
        return [(near, 10.0, near + 60, 70.0), (far, 25.0, far + 24, 49.0)]

    tracks = by_track(follow(scene, 60)[0])
    assert sorted(tracks) == [0, 1]
    assert all(len(faces) == 60 for faces in tracks.values())
    for step in range(60):
        assert centre(tracks[0][step]) == pytest.approx(70 + 2 * step, abs=0.5)
        assert centre(tracks[1][step]) == pytest.approx(172 - 2 * step, abs=0.5)


@given(st.integers(1, 6), st.integers(0, 12), st.integers(1, 4))
def test_faces_of_one_size_that_cross_keep_their_tracks(speed: int, offset: int, every: int) -> None:
    def scene(step: int) -> list[Box]:
        left, right = 100.0 + speed * (step - 30), 100.0 - speed * (step - 30) + offset
        return [(left, 10.0, left + 60, 70.0), (right, 10.0, right + 60, 70.0)]

    tracks = by_track(follow(scene, 60, detect_every=every, smooth=False)[0])
    assert sorted(tracks) == [0, 1]
    for step in range(60):
        assert centre(tracks[0][step]) == pytest.approx(130 + speed * (step - 30), abs=0.5)
        assert centre(tracks[1][step]) == pytest.approx(130 - speed * (step - 30) + offset, abs=0.5)


def test_face_that_stops_or_reverses_keeps_its_track() -> None:
    def scene(step: int) -> list[Box]:
        x = 5.0 * min(step % 40, 40 - step % 40)
        return [(x, 10.0, x + 40, 50.0)]

    assert sorted(by_track(follow(scene, 100)[0])) == [0]
    assert sorted(by_track(follow(lambda step: scene(min(step, 18)), 40)[0])) == [0]


@pytest.mark.parametrize("every", [1, 2, 4])
def test_face_occluded_by_a_passing_one_keeps_its_track(every: int) -> None:
    """Of two overlapping faces a detector returns only the front one, because of non-maximum suppression."""

    def scene(step: int) -> list[Box]:
        front, back = (3.0 * step, 10.0, 40 + 3.0 * step, 50.0), (60.0, 12.0, 100.0, 52.0)
        hidden = box_overlaps(np.array([front]), np.array([back]))[0, 0] > 0.7
        return [front] if hidden else [front, back]

    tracks = by_track(follow(scene, 45, detect_every=every, smooth=False)[0])
    assert sorted(tracks) == [0, 1]
    for step in (0, 8, 32, 44):
        assert centre(tracks[0][step]) == pytest.approx(20 + 3 * step, abs=0.5)
        assert centre(tracks[1][step]) == pytest.approx(80, abs=0.5)


@given(st.lists(st.lists(st.integers(0, 3), max_size=3, unique=True), min_size=1, max_size=40), st.integers(1, 5))
def test_each_frame_is_yielded_once_in_order_with_no_track_twice(places: list[list[int]], every: int) -> None:
    scene = {step: [(50.0 * x, 0.0, 50.0 * x + 40, 40.0) for x in row] for step, row in enumerate(places)}
    stills = [Still.of(step) for step in range(len(places))]
    followed = list(FaceTracker(Scripted(scene), detect_every=every).follow(stills))
    assert [still for still, _ in followed] == stills
    for _, faces in followed:
        ids = [face.track_id for face in faces]
        assert len(ids) == len(set(ids))
        assert all(any(np.allclose(face.box, box) for row in scene.values() for box in row) for face in faces)


@given(st.integers(1, 6), st.booleans())
def test_frames_are_delayed_by_at_most_the_stated_delay(every: int, smooth: bool) -> None:
    taken: list[int] = []

    def stills() -> Iterator[Still]:
        for step in range(80):
            taken.append(step)
            yield Still.of(step)

    tracker = FaceTracker(Scripted(moving), detect_every=every, smooth=smooth)
    for step, _ in enumerate(tracker.follow(stills())):
        assert taken[-1] <= min(79, step + tracker.delay + every)


@pytest.mark.usefixtures("_small_heap")
def test_memory_does_not_grow_with_length() -> None:
    alive: weakref.WeakSet[Still] = weakref.WeakSet()

    def stills() -> Iterator[Still]:
        for step in range(600):
            still = Still.of(step)
            alive.add(still)
            yield still

    tracker = FaceTracker(Scripted(lambda step: [(10.0, 10.0, 50.0, 50.0), *moving(step % 37)]), detect_every=1)
    most = 0
    for step, _ in enumerate(tracker.follow(stills())):
        if step % 50 == 0:
            gc.collect()
            sizes = [len(track.steps) for track in tracker._tracks]
            assert max(sizes) <= 2 * tracker.delay + 2
            assert len(sizes) <= 10
        most = max(most, len(alive))
    assert most <= tracker.delay + 3


def test_boxes_do_not_depend_on_dropped_detections() -> None:
    def wobbling(step: int) -> list[Box]:
        x = 10 + 8 * np.sin(step / 5)
        return [] if step % 23 in (4, 5, 6) else [(x, 10.0, x + 40, 50.0 + step % 3)]

    long, _ = follow(wobbling, 200, detect_every=2)
    short, _ = follow(wobbling, 120, detect_every=2)
    for first, second in zip(long[:100], short[:100], strict=True):
        assert [tuple(face.box) for face in first] == [tuple(face.box) for face in second]


def test_no_frames_give_nothing() -> None:
    assert follow({}, 0) == ([], [])


@pytest.mark.parametrize(
    "box", [(5.0, 5.0, 5.0, 9.0), (9.0, 5.0, 5.0, 9.0), (0.0, 0.0, float("nan"), 9.0), (0.0, 0.0, float("inf"), 9.0)]
)
def test_invalid_box_is_refused_with_the_detectors_name(box: Box) -> None:
    with pytest.raises(ConfigError, match="detector 'scripted' returned a box that is not finite xyxy"):
        follow({0: [box]}, 1)


class Wrong:
    name = "wrong"

    def __init__(self, found: Any) -> None:
        self._found = found

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> Any:
        return self._found


NONE = Detections.from_rows([], [])


@pytest.mark.parametrize(
    "found",
    [
        [],
        [NONE, NONE],
        None,
        [np.zeros((0, 4))],
        [Detections(np.zeros((1, 5), np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))],
        [Detections(np.zeros((2, 4), np.float32), np.ones(1, np.float32), np.zeros((1, 5, 2), np.float32))],
        [Detections.from_rows([[0, 0, 9, 9]], [1.5])],
        [Detections.from_rows([[0, 0, 9, 9]], [float("nan")])],
    ],
    ids=["none", "two", "None", "array", "five columns", "one score", "score above 1", "score NaN"],
)
def test_detector_that_breaks_the_protocol_is_named(found: Any) -> None:
    with pytest.raises(ConfigError, match="detector 'wrong' returned"):
        list(FaceTracker(Wrong(found)).follow([Still.of(0)]))


# Cuts, on real faces ------------------------------------------------------------------------------------------------

FACE = (90.0, 40.0, 190.0, 140.0)
"""Where the astronaut's face is in `astronaut_frames`, roughly: it sways."""


@pytest.fixture(scope="module")
def astronaut_frames(astronaut: Path) -> list[NDArray[np.uint8]]:
    """Every second frame, close up: uint8 (225, 300, 3)."""
    with open_video(astronaut) as reader:
        return [np.ascontiguousarray(frame.rgb[14:239, 69:369]) for frame in reader][::2]


def graded(rgb: NDArray[np.uint8], *gains: float) -> NDArray[np.uint8]:
    brighter: NDArray[np.uint8] = np.clip(rgb * np.array(gains), 0, 255).astype(np.uint8)
    return brighter


def tracks_of(
    frames: Sequence[NDArray[np.uint8]], scene: Callable[[int], Sequence[Box]] = lambda _: [FACE]
) -> list[set[int]]:
    """The tracks of each frame, with a detector that follows a script."""
    stills = []
    for step, rgb in enumerate(frames):
        numbered = rgb.copy()
        numbered[0, 0] = (step, 0, 0)
        stills.append(Still(numbered))
    return [{face.track_id for face in faces} for _, faces in FaceTracker(Scripted(scene)).follow(stills)]


@pytest.mark.parametrize("cut", [9, 10, 11, 12])
@pytest.mark.parametrize("gain", [1.0, 0.25])
def test_cut_between_two_faces_in_one_place_starts_a_new_track(
    astronaut_frames: list[NDArray[np.uint8]], cut: int, gain: float
) -> None:
    """Another person, of the same size in the same place: the same face mirrored, in another light."""
    first = [graded(rgb, 0.8 * gain, 0.8 * gain, 0.8 * gain) for rgb in astronaut_frames[:cut]]
    second = [graded(rgb[:, ::-1], 0.9 * gain, gain, 0.9 * gain) for rgb in astronaut_frames[cut : cut + 12]]
    assert tracks_of([*first, *second]) == [{0}] * cut + [{1}] * 12


def test_face_that_is_replaced_while_the_rest_of_the_picture_stays_starts_a_new_track(
    astronaut_frames: list[NDArray[np.uint8]],
) -> None:
    x1, y1, x2, y2 = (int(edge) for edge in FACE)
    frames = [astronaut_frames[0].copy() for _ in range(24)]
    for rgb in frames[13:]:
        rgb[y1:y2, x1:x2] = rgb[y1:y2, x1:x2][:, ::-1].copy()
    assert tracks_of(frames) == [{0}] * 13 + [{1}] * 11


@pytest.mark.parametrize("flash_frames", [1, 2, 3])
def test_flash_is_no_cut(astronaut_frames: list[NDArray[np.uint8]], flash_frames: int) -> None:
    frames = list(astronaut_frames[:40])
    for step in range(20, 20 + flash_frames):
        frames[step] = np.clip(frames[step] * 1.3 + 40, 0, 255).astype(np.uint8)
    assert tracks_of(frames) == [{0}] * 40


def test_fade_is_no_cut(astronaut_frames: list[NDArray[np.uint8]]) -> None:
    faded = [graded(rgb, *[max(0.2, abs(step - 20) / 20)] * 3) for step, rgb in enumerate(astronaut_frames[:40])]
    assert tracks_of(faded) == [{0}] * 40


def test_shaken_camera_is_no_cut(astronaut_frames: list[NDArray[np.uint8]]) -> None:
    def shift(step: int) -> int:
        return 12 * (step % 4 - 2)

    shaken = [np.roll(rgb, shift(step), axis=1) for step, rgb in enumerate(astronaut_frames[:40])]
    x1, y1, x2, y2 = FACE
    assert tracks_of(shaken, lambda step: [(x1 + shift(step), y1, x2 + shift(step), y2)]) == [{0}] * 40


def test_hand_before_the_face_for_a_moment_is_no_cut(astronaut_frames: list[NDArray[np.uint8]]) -> None:
    frames = [rgb.copy() for rgb in astronaut_frames[:30]]
    for rgb in frames[12:16]:
        rgb[30:150, 80:200] = (180, 130, 110)
    tracks = tracks_of(frames, lambda step: [] if 12 <= step < 16 else [FACE])
    assert set().union(*tracks) == {0}


@pytest.mark.shared
def test_joined_clips_of_two_people_share_no_track(shared: Path) -> None:
    """Hard cuts between the speakers of GRID (a blue wall behind each) and of MEAD, in full light and in the dark."""
    detector = load_detector(shared / "weights" / "face_detection_yunet_2023mar.onnx")
    clips: dict[str, list[NDArray[np.uint8]]] = {}
    for path in [*sorted((shared / "media/grid/others").glob("*.mp4")), *sorted((shared / "media/mead").glob("*.mp4"))]:
        every = 1 if path.parent.name == "others" else 3  # GRID is 360x288, MEAD 1920x1080
        with open_video(path) as reader:
            kept = islice(reader, 0, 26, 2)
            clips[path.stem] = [frame.rgb[::every, ::every] for frame in kept]
    pairs = [
        (first, second)
        for first, second in permutations(clips, 2)
        if clips[first][0].shape == clips[second][0].shape and first.split("_")[0] != second.split("_")[0]
    ]
    mixed = []
    for index, (first, second) in enumerate(pairs[::9]):  # all 130, each in both lights: measured once, none mixed
        gain = (1.0, 0.25)[index % 2]
        frames = [Still(graded(rgb, gain, gain, gain)) for rgb in (*clips[first], *clips[second])]
        tracks = [{face.track_id for face in faces} for _, faces in FaceTracker(detector).follow(frames)]
        cut = len(clips[first])
        if set().union(*tracks[:cut]) & set().union(*tracks[cut:]):
            mixed.append((first, second, gain))
    assert len(pairs) > 100
    assert mixed == []
