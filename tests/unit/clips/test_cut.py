"""Cutting frames with faces into clips."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.making import TINY, PaintedFace, painted

import marlin_sdk.clips.cut
from marlin_sdk import ConfigError, Detections, ExtractionConfig, FaceDetector, ShapeError
from marlin_sdk.clips.cut import Clip, cut_clips
from marlin_sdk.face.cropping import crop_square, square_box
from marlin_sdk.features import SkippedWindow
from marlin_sdk.video.reader import Frame

Box = tuple[int, int, int, int]
FACE = (40, 20, 80, 60)
WINDOWS: list[dict[str, Any]] = [
    {"sample_rate": 1, "stride": 1},
    {"sample_rate": 1, "stride": 500},
    {"compat": "marlin_pytorch"},
    {"compat": "marlin_pytorch", "stride": 300},
]
EXACT: dict[str, Any] = {"sample_rate": 1, "detect_every": 1, "smooth": False}


class ByColour:
    """A detector of painted squares, one for each pure colour, with given scores."""

    name = "colours"

    def __init__(self, scores: Mapping[tuple[int, int, int], float]) -> None:
        self._scores = scores

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [self._one(frame) for frame in frames]

    def _one(self, frame: NDArray[np.uint8]) -> Detections:
        boxes, scores = [], []
        for colour, score in self._scores.items():
            rows, columns = np.nonzero((frame == np.array(colour)).all(axis=2))
            if len(rows):
                boxes.append([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                scores.append(score)
        return Detections.from_rows(boxes, scores)


RED, BLUE = (255, 0, 0), (0, 0, 255)


def as_frames(pictures: Iterable[NDArray[np.uint8]]) -> Iterator[Frame]:
    for index, picture in enumerate(pictures):
        height, width = picture.shape[:2]
        yield Frame(index, index / 25, 1 / 25, height, width, partial(np.asarray, picture))


def cut(
    pictures: Iterable[NDArray[np.uint8]], detector: FaceDetector | None, **settings: Any
) -> tuple[list[Clip], list[SkippedWindow]]:
    """All clips, and all skipped windows."""
    cuts = list(cut_clips(as_frames(pictures), ExtractionConfig(**settings), TINY, detector))
    skipped = [one for one in cuts if isinstance(one, SkippedWindow)]
    return [clip for one in cuts if not isinstance(one, SkippedWindow) for clip in one], skipped


def shown(*steps: int) -> dict[int, Box]:
    return dict.fromkeys(steps, FACE)


def two_faces(num_frames: int, red: Mapping[int, Box], blue: Mapping[int, Box]) -> NDArray[np.uint8]:
    frames = painted(num_frames, red)
    for index, (x1, y1, x2, y2) in blue.items():
        frames[index, y1:y2, x1:x2] = BLUE
    return frames


def test_clip_holds_the_crop_of_each_frame_and_its_provenance() -> None:
    boxes = {step: (20 + step, 10, 60 + step, 50) for step in range(32)}
    video = painted(32, boxes)
    for step, (x1, y1, x2, y2) in boxes.items():
        video[step, y1:y2, x1:x2] = (255 - step, step, step)
    (first, second), skipped = cut(video, PaintedFace(), **EXACT)
    assert skipped == []
    for clip, start in ((first, 0), (second, 16)):
        assert clip.frame_index.tolist() == list(range(start, start + 16))
        assert clip.frame_valid.all()
        assert (clip.start_s, clip.end_s) == pytest.approx((start / 25, (start + 16) / 25))
        assert clip.pixels.shape == (16, 32, 32, 3)
        assert clip.pixels.dtype == np.uint8
        assert clip.boxes.dtype == clip.face_score.dtype == np.float32
        for place, step in enumerate(range(start, start + 16)):
            square = square_box(np.array(boxes[step], dtype=np.float64))
            assert clip.boxes[place].tolist() == square.tolist()
            np.testing.assert_array_equal(clip.pixels[place], crop_square(video[step], square, 32))
        np.testing.assert_allclose(clip.face_score, 0.9)


@given(st.sets(st.integers(0, 15)), st.integers(1, 16))
def test_window_needs_a_face_in_half_of_its_real_frames(steps: set[int], real: int) -> None:
    seen = sorted(step for step in steps if step < real)
    clips, skipped = cut(painted(real, shown(*seen)), PaintedFace(), **EXACT)
    held = seen[-1] - seen[0] + 1 if seen and max(np.diff(seen), default=0) <= 8 else None
    if held is None:
        assert (seen == []) == (skipped != [] and skipped[0].reason == "no face")
        return
    assert len(clips) == (2 * held >= real)
    assert len(skipped) == (2 * held < real)
    if clips:
        expected = [seen[0] <= step <= seen[-1] for step in range(real)] + [False] * (16 - real)
        assert clips[0].frame_valid.tolist() == expected
    else:
        assert skipped[0].reason == f"a face in only {held} of {real} frames; {-(-real // 2)} are needed"


def test_changing_faces_are_distinguished_from_an_absent_face() -> None:
    places = [(4, 4, 24, 24), (60, 50, 80, 70), (100, 4, 120, 24)]
    _, skipped = cut(painted(16, {step: places[step // 6] for step in range(16)}), PaintedFace(), **EXACT)
    assert [window.reason for window in skipped] == [
        "faces in 16 of 16 frames, but the longest-seen one in only 6; 8 are needed"
    ]


def test_skipped_window_has_its_time_and_its_reason() -> None:
    clips, skipped = cut(painted(56, shown(*range(20), *range(48, 56))), PaintedFace(), **EXACT)
    assert [clip.start_s for clip in clips] == [0.0, pytest.approx(48 / 25)]
    times = [(window.start_s, window.end_s) for window in skipped]
    np.testing.assert_allclose(times, [(16 / 25, 32 / 25), (32 / 25, 48 / 25)])
    assert [window.reason for window in skipped] == ["a face in only 4 of 16 frames; 8 are needed", "no face"]


def test_frame_without_the_face_is_replaced_by_the_nearest_with_it() -> None:
    (clip,), _ = cut(painted(16, shown(*range(3, 12))), PaintedFace(), **EXACT)
    assert clip.frame_index.tolist() == [3, 3, 3, *range(3, 12), 11, 11, 11, 11]
    assert clip.frame_valid.tolist() == [False] * 3 + [True] * 9 + [False] * 4
    np.testing.assert_allclose(clip.face_score, [0.0] * 3 + [0.9] * 9 + [0.0] * 4)
    assert (clip.start_s, clip.end_s) == pytest.approx((0.0, 16 / 25))
    np.testing.assert_array_equal(clip.pixels[0], clip.pixels[3])


def test_face_that_leaves_and_returns_within_half_a_clip_is_filled_in() -> None:
    (clip,), _ = cut(painted(16, shown(*range(5), *range(12, 16))), PaintedFace(), **EXACT)
    assert clip.frame_valid.all()
    assert clip.frame_index.tolist() == list(range(16))
    assert {tuple(box) for box in clip.boxes.tolist()} == {FACE}


def test_face_that_leaves_for_longer_starts_a_new_track() -> None:
    clips, skipped = cut(painted(64, shown(*range(16), *range(32, 64))), PaintedFace(), **EXACT)
    assert [(clip.start_s, clip.track_id) for clip in clips] == [
        (0.0, 0),
        (pytest.approx(32 / 25), 1),
        (pytest.approx(48 / 25), 1),
    ]
    assert [window.reason for window in skipped] == ["no face"]


def test_most_prominent_face_is_the_larger_not_the_best_scored() -> None:
    small, large = (10, 10, 30, 30), (60, 20, 100, 60)
    video = two_faces(32, dict.fromkeys(range(32), small), dict.fromkeys(range(32), large))
    clips, _ = cut(video, ByColour({RED: 0.95, BLUE: 0.8}), **EXACT)
    assert [tuple(clip.boxes[0].tolist()) for clip in clips] == [large, large]
    assert [clip.track_id for clip in clips] == [1, 1]


def test_large_box_that_is_hardly_a_face_is_not_the_most_prominent() -> None:
    face, doubtful = (10, 10, 46, 46), (60, 20, 102, 62)
    video = two_faces(16, dict.fromkeys(range(16), face), dict.fromkeys(range(16), doubtful))
    (clip,), _ = cut(video, ByColour({RED: 0.95, BLUE: 0.6}), **EXACT)
    assert tuple(clip.boxes[0].tolist()) == face


def test_prominence_is_computed_for_each_window() -> None:
    near, far = (10, 10, 50, 50), (80, 10, 100, 30)
    video = two_faces(
        32,
        {step: near if step < 16 else (20, 20, 40, 40) for step in range(32)},
        {step: far if step < 16 else (70, 5, 110, 45) for step in range(32)},
    )
    clips, _ = cut(video, ByColour({RED: 0.9, BLUE: 0.9}), **EXACT)
    assert [tuple(clip.pixels[8, 16, 16].tolist()) for clip in clips] == [RED, BLUE]


def test_large_face_in_too_few_frames_is_not_the_most_prominent() -> None:
    large = dict.fromkeys(range(7), (50, 10, 120, 80))
    video = two_faces(16, dict.fromkeys(range(16), (10, 10, 30, 30)), large)
    detector = ByColour({RED: 0.9, BLUE: 0.9})
    for faces in ("largest", "all"):
        clips, skipped = cut(video, detector, faces=faces, **EXACT)
        assert [tuple(clip.boxes[0].tolist()) for clip in clips] == [(10, 10, 30, 30)]
        assert skipped == []


def test_all_faces_have_a_clip_each_with_their_track_id() -> None:
    left, right = (10, 10, 40, 40), (70, 20, 110, 60)
    video = two_faces(32, dict.fromkeys(range(32), left), dict.fromkeys(range(10, 32), right))
    clips, _ = cut(video, ByColour({RED: 0.9, BLUE: 0.8}), faces="all", **EXACT)
    rows = [(clip.start_s, clip.track_id, tuple(clip.boxes[12].tolist())) for clip in clips]
    assert rows == [  # the blue one shows in 6 of the first 16 frames; then it is the more prominent
        (0.0, 0, left),
        (pytest.approx(16 / 25), 1, right),
        (pytest.approx(16 / 25), 0, left),
    ]
    for clip in clips:
        colour = RED if clip.track_id == 0 else BLUE
        assert (clip.pixels[:, 8:24, 8:24] == np.array(colour)).all()


@pytest.mark.parametrize("stride", [1, 3, 16])
def test_windows_that_overlap_crop_each_frame_once(stride: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []

    def counting(frame: NDArray[np.uint8], square: NDArray[np.int64], size_px: int) -> NDArray[np.uint8]:
        made.append(tuple(square.tolist()))
        return crop_square(frame, square, size_px)

    monkeypatch.setattr(marlin_sdk.clips.cut, "crop_square", counting)
    boxes = {step: (10 + step, 20, 50 + step, 60) for step in range(33)}
    detector = PaintedFace()
    clips, _ = cut(painted(33, boxes), detector, stride=stride, **EXACT)
    assert len(clips) == {1: 18, 3: 7, 16: 3}[stride]
    assert len(made) == len(set(made)) == 33
    assert detector.num_frames == 33
    for clip in clips:
        for place, step in enumerate(clip.frame_index):
            assert tuple(clip.boxes[place].tolist()) == boxes[int(step)]


def test_overlapping_windows_agree_on_what_they_share() -> None:
    video = painted(40, {step: (10 + step, 20, 50 + step, 60) for step in range(40)})
    clips, _ = cut(video, PaintedFace(), stride=4, sample_rate=1)
    for first, second in pairwise(clips):
        both = [place for place in range(12) if first.frame_valid[place + 4] and second.frame_valid[place]]
        assert both
        np.testing.assert_array_equal(first.pixels[4:][both], second.pixels[both])


@pytest.mark.usefixtures("_small_heap")
@pytest.mark.parametrize("settings", WINDOWS)
@pytest.mark.parametrize("cropped", [True, False])
def test_buffered_frames_do_not_grow_with_length_or_stride(settings: dict[str, Any], cropped: bool) -> None:
    alive: weakref.WeakSet[Frame] = weakref.WeakSet()
    most = 0
    picture = np.zeros((32, 32, 3), dtype=np.uint8)

    def frames() -> Iterator[Frame]:
        nonlocal most
        for index in range(1300):
            frame = Frame(index, index / 25, 1 / 25, 32, 32, lambda: picture)
            alive.add(frame)
            if index % 100 == 99:
                gc.collect()
            most = max(most, len(alive))
            yield frame
            del frame

    config = ExtractionConfig(**settings)
    detector = Everywhere() if cropped else None
    count = sum(isinstance(one, list) for one in cut_clips(frames(), config, TINY, detector))
    assert count >= 3
    assert most <= 70


class Everywhere:
    """A detector that returns one face for any frame."""

    name = "everywhere"

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [Detections.from_rows([[4, 4, 28, 28]], [0.9]) for _ in frames]


def test_frames_that_are_not_sampled_are_never_converted() -> None:
    converted: list[int] = []

    def frames() -> Iterator[Frame]:
        for index in range(64):

            def convert(index: int = index) -> NDArray[np.uint8]:
                converted.append(index)
                return np.full((32, 32, 3), 90, dtype=np.uint8)

            yield Frame(index, index / 25, 1 / 25, 32, 32, convert)

    assert len(list(cut_clips(frames(), ExtractionConfig(sample_rate=4), TINY, Everywhere()))) == 1
    assert converted == list(range(0, 64, 4))


@pytest.mark.parametrize("settings", [{"sample_rate": 1}, {"compat": "marlin_pytorch"}])
def test_pixels_of_large_frames_are_released(settings: dict[str, Any]) -> None:
    alive: list[weakref.ref[NDArray[np.uint8]]] = []
    height, width = 1500, 2000
    held, converted = [], 0

    def frames() -> Iterator[Frame]:
        for index in range(70):

            def convert() -> NDArray[np.uint8]:
                nonlocal converted
                converted += 1
                pixels = np.zeros((height, width, 3), dtype=np.uint8)
                alive.append(weakref.ref(pixels))
                return pixels

            held.append(sum(pixels() is not None for pixels in alive))
            yield Frame(index, index / 25, 1 / 25, height, width, convert)

    clips = [one for one in cut_clips(frames(), ExtractionConfig(**settings), TINY, Everywhere()) if one]
    assert len(clips) == (5 if "sample_rate" in settings else 2)
    assert max(held) <= 3
    assert converted <= 2 * 70 + 2


def test_crops_of_large_frames_are_those_of_their_pixels() -> None:
    rng = np.random.default_rng(3)
    video = [np.repeat(np.repeat(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8), 100, 0), 100, 1) for _ in range(20)]
    clips, _ = cut(video, Everywhere(), sample_rate=1)
    for clip in clips:
        for place, index in enumerate(clip.frame_index):
            square = clip.boxes[place].astype(np.int64)
            np.testing.assert_array_equal(clip.pixels[place], crop_square(video[index], square, 32))


def test_uncropped_frames_are_the_pixels_themselves() -> None:
    video = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    clips, _ = cut(video, None, sample_rate=1)
    assert [clip.track_id for clip in clips] == [-1, -1]
    np.testing.assert_array_equal(clips[0].pixels, video[:16])
    np.testing.assert_array_equal(clips[1].pixels, video[[16, 17, 18, *[19] * 13]])
    assert clips[1].frame_valid.sum() == 4
    assert (clips[0].boxes == [0, 0, 32, 32]).all()
    assert np.isnan(clips[0].face_score).all()


def test_whole_frames_of_another_size_say_what_to_do() -> None:
    with pytest.raises(ShapeError, match=r"frame 0 is 128x96.*32x32: pass crop_face=True"):
        cut(painted(4, {}), None)


def test_compat_uses_the_best_box_of_each_frame_without_tracking() -> None:
    boxes = {step: (10 + (step * 7) % 40, 20, 50 + (step * 7) % 40, 60) for step in range(65)}
    video = painted(65, boxes)
    clips, skipped = cut(video, PaintedFace(), compat="marlin_pytorch")
    assert skipped == []
    assert [clip.frame_index.tolist() for clip in clips] == [list(range(0, 32, 2)), list(range(32, 64, 2))]
    for clip in clips:
        assert [tuple(box) for box in clip.boxes.tolist()] == [boxes[int(step)] for step in clip.frame_index]


def test_compat_uses_the_best_scored_face_not_the_largest() -> None:
    small, large = (10, 10, 30, 30), (60, 20, 100, 60)
    video = two_faces(33, dict.fromkeys(range(33), small), dict.fromkeys(range(33), large))
    (clip,), _ = cut(video, ByColour({RED: 0.95, BLUE: 0.8}), compat="marlin_pytorch")
    assert tuple(clip.boxes[0].tolist()) == small


def test_compat_embeds_a_corner_of_two_pixels_without_a_face() -> None:
    (clip,), skipped = cut(painted(33, shown(*range(4))), PaintedFace(), compat="marlin_pytorch")
    assert skipped == []
    assert [tuple(box) for box in clip.boxes[:2].tolist()] == [FACE, FACE]
    assert ((clip.boxes[2:, 2:] - clip.boxes[2:, :2]) == 2).all()
    np.testing.assert_allclose(clip.face_score, [0.9, 0.9] + [0.0] * 14)


@pytest.mark.parametrize("settings", [{}, {"compat": "marlin_pytorch"}])
def test_detector_that_breaks_the_protocol_is_named(settings: dict[str, Any]) -> None:
    class Broken:
        name = "broken"

        def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
            return [Detections.from_rows([[0, 0, float("nan"), 9]], [0.9]) for _ in frames]

    with pytest.raises(ConfigError, match="detector 'broken' returned a box that is not finite"):
        cut(painted(33, {}), Broken(), **settings)


def test_compat_counts_the_decoded_images_of_a_folder_not_their_indices() -> None:
    black = np.zeros((32, 32, 3), dtype=np.uint8)
    frames = [Frame(index, index / 25, 1 / 25, 32, 32, lambda: black) for index in range(40) if index != 4]
    config = ExtractionConfig(compat="marlin_pytorch")
    (clips,) = cut_clips(frames, config, TINY, None)
    assert isinstance(clips, list)
    assert clips[0].frame_index.tolist() == [frame.index for frame in frames[:32:2]]


# Holes --------------------------------------------------------------------------------------------------------------


def holed(first: int, lost: int, last: int) -> list[Frame]:
    """Frames of 25 a second, with so many lost behind the first ones."""
    rgb = painted(1, {0: FACE})[0]
    frames = []
    for index in range(first + last):
        behind = lost if index >= first else 0
        time_s, missing_s = (index + behind) / 25, behind / 25
        frames.append(Frame(index, time_s, 0.04, rgb.shape[0], rgb.shape[1], lambda: rgb, missing_s=missing_s))
    return frames


@pytest.mark.parametrize(("lost", "is_whole"), [(4, True), (15, True), (17, False), (60, False)])
def test_window_with_a_hole_longer_than_half_of_it_is_skipped(lost: int, is_whole: bool) -> None:
    """32 frames make a window of 1.28 s at every second frame."""
    first, *later = cut_clips(holed(20, lost, 76), ExtractionConfig(), TINY, PaintedFace())
    assert isinstance(first, list) is is_whole
    if isinstance(first, SkippedWindow):
        assert first.reason == f"{lost / 25:.2f} s of the video are missing within it"
    assert all(isinstance(cut, list) for cut in later)


def test_resampled_steps_inside_a_hole_are_not_valid() -> None:
    config = ExtractionConfig(fps=12.5)
    first, *later = cut_clips(holed(20, 12, 76), config, TINY, PaintedFace())
    assert isinstance(first, list)
    invalid_s = np.flatnonzero(~first[0].frame_valid) / 12.5
    assert len(invalid_s)
    assert ((invalid_s >= 0.8) & (invalid_s < 1.28)).all()
    assert all(isinstance(cut, list) for cut in later)


def test_resampled_windows_inside_a_hole_are_skipped() -> None:
    cuts = cut_clips(holed(20, 100, 76), ExtractionConfig(fps=12.5), TINY, PaintedFace())
    skipped = [cut.reason for cut in cuts if isinstance(cut, SkippedWindow)]
    assert len(skipped) >= 3
    assert all(reason.endswith(" s of the video are missing within it") for reason in skipped)
