"""Rows of a table on prepared faces: the windows of an extraction, and what cannot be used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.making import TINY, PaintedFace, painted, write_video
from tests.unit.training.finetune.labelling import opened, write_faces, write_table
from tests.unit.training.preparing import number_of, tell_tale

from marlin_sdk.clips.cutter import ClipCutter
from marlin_sdk.config import ExtractionConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.features import SkippedWindow
from marlin_sdk.training.finetune.data.placing import Place, WindowRule
from marlin_sdk.training.finetune.data.table import open_table
from marlin_sdk.training.prepare.folder import DataFolder, Outcome
from marlin_sdk.training.prepare.shards import Sample, Shard
from marlin_sdk.video.reader import open_video

RULE = WindowRule()


def one_row(folder: Path, tracks: Any, *, row: dict[str, object] | None = None, **settings: Any) -> Place:
    table = write_table(folder / "t.csv", [{"path": "a.mp4", "id": "a", "mood": 1, **(row or {})}])
    (place,) = opened(table, write_faces(folder / "faces", tracks), **settings).places
    return place


def shown(place: Place, frames: NDArray[np.int64]) -> list[int]:
    return [number_of(frame) for frame in place.read(frames)]


def test_whole_video_has_the_windows_of_an_extraction_with_their_crops(tmp_path: Path) -> None:
    place = one_row(tmp_path, [("a.mp4", 0, 0, tell_tale(40))])
    first, last = place.windows(RULE)
    assert shown(place, first) == list(range(0, 32, 2))
    assert shown(place, last) == [32, 34, 36, 38, *[38] * 12]
    assert [place.time_s(int(window[0])) for window in (first, last)] == pytest.approx([0.0, 32 / 25])


def test_part_of_a_video_begins_with_its_first_frame(tmp_path: Path) -> None:
    place = one_row(tmp_path, [("a.mp4", 0, 0, tell_tale(60))], row={"start_s": 0.41, "end_s": 1.72})
    (window,) = place.windows(RULE)
    assert shown(place, window) == list(range(11, 43, 2))


def test_frames_without_the_face_are_the_nearest_that_show_it_across_samples(tmp_path: Path) -> None:
    crops = tell_tale(60)
    place = one_row(tmp_path, [("a.mp4", 0, 0, crops[:10]), ("a.mp4", 0, 16, crops[16:40])])
    first, *_ = place.windows(RULE)
    assert shown(place, first) == [0, 2, 4, 6, 8, 8, 8, 16, *range(16, 32, 2)]


def test_window_that_shows_too_little_is_left_out_as_in_an_extraction(tmp_path: Path) -> None:
    crops = tell_tale(63)
    place = one_row(tmp_path, [("a.mp4", 0, 28, crops[28:60])])
    assert [int(window[0]) for window in place.windows(RULE)] == [32]


@pytest.mark.parametrize("part", [{}, {"start_s": 0.5, "end_s": 2.2}, {"start_s": 1.0}])
def test_windows_are_those_that_the_cutter_cuts(tmp_path: Path, part: dict[str, Any]) -> None:
    """A face that comes late and pauses: prepared by hand, and cut by an extraction from a video."""
    frames_with = [index for index in range(70) if index >= 4 and not 40 <= index < 44]
    video = write_video(
        tmp_path / "a.mp4", painted(70, dict.fromkeys(frames_with, (40, 30, 80, 70))), options={"qp": "0"}
    )
    config = ExtractionConfig(detect_every=1, smooth=False, **part)
    cutter = ClipCutter(TINY, PaintedFace)
    with open_video(video) as reader:
        cuts = [cut for cut in cutter.cut(reader, config) if not isinstance(cut, SkippedWindow)]
    tracks = [("a.mp4", 0, 4, tell_tale(63)[:36]), ("a.mp4", 0, 44, tell_tale(63)[:26])]
    place = one_row(tmp_path, tracks, row={"path": str(video), **part})
    starts = [place.time_s(int(window[0])) for window in place.windows(RULE)]
    assert starts == pytest.approx([clip.start_s for (clip,) in cuts])


def test_random_windows_stay_in_the_part_and_differ(tmp_path: Path) -> None:
    place = one_row(tmp_path, [("a.mp4", 0, 0, tell_tale(60))], row={"start_s": 0.4, "end_s": 2.0})
    drawn = [place.random_window(RULE, np.random.default_rng(seed)) for seed in range(40)]
    assert {int(window[0]) for window in drawn} == set(range(10, 20))
    assert all(np.diff(window).tolist() == [2] * 15 for window in drawn)


def test_jitter_lets_random_windows_leave_the_part_but_not_those_of_a_test(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [{"path": "a.mp4", "id": "a", "mood": 1, "start_s": 0.4, "end_s": 1.68}])
    faces = write_faces(tmp_path / "faces", [("a.mp4", 0, 0, tell_tale(60))])
    (place,) = open_table(table, faces, plan=RULE, jitter_s=0.08).places
    drawn = {int(place.random_window(RULE, np.random.default_rng(seed))[0]) for seed in range(60)}
    assert drawn == {8, 9, 10, 11, 12, 13}
    assert [int(window[0]) for window in place.windows(RULE)] == [10]


def test_short_clip_is_padded_as_in_an_extraction(tmp_path: Path) -> None:
    place = one_row(tmp_path, [("a.mp4", 0, 0, tell_tale(20))])
    (window,) = place.windows(RULE)
    assert shown(place, window) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18, *[18] * 6]
    assert place.random_window(RULE, np.random.default_rng(0)).tolist() == window.tolist()


@given(
    spans=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 30)), min_size=1, max_size=5),
    rate=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_windows_only_hold_frames_of_the_clip(spans: list[tuple[int, int]], rate: int, seed: int) -> None:
    rule, begin, pieces = WindowRule(16, rate, 16), 0, []
    for gap, count in spans:
        begin += gap
        sample = Sample("s", "a", "a", 0, begin, 0, np.ones(count + 2, np.int64))
        pieces.append((Shard(Path("x.tar"), "train", [], 0), sample, 0, count))
        begin += count
    place = Place("a", spans[0][0], begin - 1, tuple(pieces), 25.0, 0.0)
    drawn = place.random_window(rule, np.random.default_rng(seed))
    for window in [drawn, *place.windows(rule)]:
        assert len(window) == 16
        assert np.all(np.diff(window) >= 0)
        assert window[0] >= place.first
        assert window[-1] <= place.last


def test_what_cannot_be_used_is_named_with_its_reason(tmp_path: Path) -> None:
    names = ("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    table = write_table(
        tmp_path / "t.csv",
        [
            *({"path": name, "id": name[0], "start_s": "", "mood": 1} for name in names),
            {"path": "a.mp4", "id": "late", "start_s": 9.0, "mood": 1},
        ],
    )
    faces = write_faces(tmp_path / "faces", [("a.mp4", 0, 0, tell_tale(40)), ("b.mp4", 0, 0, tell_tale(12))])
    DataFolder(faces).record(Outcome("c.mp4", "broken", reason="no frame can be decoded"))
    left_out = opened(table, faces).left_out
    assert left_out == {
        "the face is seen in fewer than 8 sampled frames": ["b"],
        "broken video: no frame can be decoded": ["c"],
        f"its video is not in {faces}": ["d"],
        "no prepared face in this part of the video": ["late"],
    }


def test_longest_seen_face_is_taken_and_that_is_said(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [{"path": "a.mp4", "id": "a", "mood": 1}])
    dark, bright = tell_tale(30), np.full((50, 32, 32, 3), 200, np.uint8)
    found = opened(table, write_faces(tmp_path / "faces", [("a.mp4", 0, 0, dark), ("a.mp4", 1, 0, bright)]))
    assert found.notes == ("1 clips show several faces, such as a; the one seen longest was taken",)
    assert int(found.places[0].read(np.arange(3))[0].mean()) > 190


def test_no_usable_row_is_an_error_that_says_why(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [{"path": "z.mp4", "id": "z", "mood": 1}])
    faces = write_faces(tmp_path / "faces", [("a.mp4", 0, 0, tell_tale(40))])
    with pytest.raises(ConfigError, match=r"no row of the table shows a prepared face: 1 clips are left out \(z\)"):
        opened(table, faces)


def test_two_videos_of_one_prepared_name_are_refused(tmp_path: Path) -> None:
    rows = [{"path": f"{folder}/a.mp4", "id": folder, "mood": 1} for folder in ("x", "y")]
    faces = write_faces(tmp_path / "faces", [("a.mp4", 0, 0, tell_tale(40))])
    with pytest.raises(ConfigError, match=r"x/a.mp4 and .*y/a.mp4 are both called 'a.mp4' in the prepared data"):
        opened(write_table(tmp_path / "t.csv", rows), faces)


def test_other_video_of_the_same_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"other")
    table = write_table(tmp_path / "t.csv", [{"path": "a.mp4", "id": "a", "mood": 1}])
    faces = write_faces(tmp_path / "faces", [("a.mp4", 0, 0, tell_tale(40))])
    DataFolder(faces).record(Outcome("a.mp4", "done", stamp="4321-1"))
    with pytest.raises(ConfigError, match=r"a\.mp4 has 5 bytes, and what was prepared as 'a\.mp4' had 4321"):
        opened(table, faces)


def test_tracks_and_other_sizes_are_refused(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", [{"path": "a.mp4", "id": "a", "mood": 1, "track": 1}])
    faces = write_faces(tmp_path / "faces", [("a.mp4", 0, 0, tell_tale(40))])
    with pytest.raises(ConfigError, match="the table has a track"):
        opened(table, faces)
    large = write_faces(tmp_path / "large", [("a.mp4", 0, 0, tell_tale(40, 64))], size_px=64)
    with pytest.raises(ConfigError, match=r"crops of 64 pixels, and the model takes 32; prepare .* --size 32"):
        opened(table, large)
