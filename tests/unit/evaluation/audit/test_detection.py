"""What a dump says of finding faces: by hand, and by cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.unit.evaluation.audit.auditing import labelled_dump, people
from tests.unit.report.dumps import features_of

from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.evaluation.audit.cells import make_cells, read_videos
from marlin_sdk.evaluation.audit.detection import box_jitter, detection_table, measure_video
from marlin_sdk.features import SkippedWindow

OK = ManifestEntry(id="v", source="v.mp4", status="ok", rows=3)


def test_shares_of_frames_windows_and_tracks() -> None:
    features = features_of(starts_s=[0, 1, 2], length_s=1, tracks=[0, 0, 1], skipped=[SkippedWindow(3.0, 4.0, "none")])
    features.face_score[0, :4] = 0
    found, lost, broken, jitter = measure_video(replace(OK, skipped_windows=1), features)
    assert found == pytest.approx((3 * 16 - 4) / (4 * 16))
    assert (lost, broken, jitter) == (0.25, 0.5, 0)


def test_several_faces_at_once_break_no_track() -> None:
    features = features_of(starts_s=[0, 0, 1, 1], length_s=1, tracks=[0, 1, 1, 2])
    assert measure_video(replace(OK, rows=4), features)[2] == 0


def test_video_without_a_face_has_lost_all_and_one_cropped_already_says_nothing() -> None:
    lost = measure_video(replace(OK, status="no_face", rows=0, skipped_windows=2), None)
    assert lost[:2] == (0, 1)
    assert np.isnan(lost[2:]).all()
    cropped = features_of(starts_s=[0], length_s=1)
    cropped.face_score[:] = np.nan
    assert np.isnan(measure_video(OK, cropped)).all()


def test_jitter_is_the_step_of_the_centre_by_the_size() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 60, 60], [50, 52, 60, 62]], dtype=np.float32)
    assert box_jitter(boxes, np.array([True, True, False, True])) == pytest.approx(0.1)
    assert box_jitter(boxes, np.array([True, True, True, True])) == pytest.approx(
        np.mean([0.1, np.hypot(49, 50) / 10, 0.2])
    )
    assert np.isnan(box_jitter(boxes, np.array([True, False, True, False])))


def test_cells_are_means_of_their_videos(tmp_path: Path) -> None:
    labels = people(80)
    lost = {index: 2 for index, own in enumerate(labels) if own["sex"] == "f"}
    dump = labelled_dump(tmp_path, labels, lost=lost)
    videos = read_videos(dump, ["sex"])
    rows = detection_table(dump, videos, make_cells(videos), draws=200).rows
    values = {row.value: row.estimates["windows_lost"].value for row in rows}
    assert values == {"": 0.25, "f": 0.5, "m": 0}
    gap = rows[1].estimates["windows_lost"].to_best
    assert gap is not None
    assert (gap.value, gap.p < 0.01) == (0.5, True)
