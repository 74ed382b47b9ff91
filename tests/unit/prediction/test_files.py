"""Predictions of many videos in one file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.unit.prediction.heads import heads_of
from tests.unit.report.dumps import features_of

from marlin_sdk.errors import FeatureFileError
from marlin_sdk.prediction.files import csv_file, json_file
from marlin_sdk.prediction.result import VideoPrediction, score_video

HEADS = heads_of(mood=("calm", "happy"), valence=(), smile=("happy", "no"))


def predicted(windows: int) -> VideoPrediction:
    return score_video(HEADS, features_of(starts_s=[1.28 * row for row in range(windows)], length_s=1.24))


def test_json_is_a_list_of_videos(tmp_path: Path) -> None:
    with json_file(tmp_path / "new" / "out.json") as write:
        for id, windows in (("a/b", 1), ('"c"', 2)):
            write(id, predicted(windows))
    values = json.loads((tmp_path / "new" / "out.json").read_text())
    assert [(one["id"], len(one["timeline"])) for one in values] == [("a/b", 1), ('"c"', 2)]
    assert values[1] == {"id": '"c"', **predicted(2).to_dict()}


def test_json_of_no_video_is_an_empty_list(tmp_path: Path) -> None:
    with json_file(tmp_path / "out.json"):
        pass
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_csv_has_a_column_for_the_classes_of_all_labels(tmp_path: Path) -> None:
    with csv_file(tmp_path / "out.csv", HEADS) as write:
        write("a,b", predicted(2))
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-4:] == ["score_calm", "score_happy", "score_value", "score_no"]
    assert [row["id"] for row in rows] == ["a,b"] * 12  # of the video, its face and two windows, for three labels
    assert rows[0]["track_id"] == ""
    assert float(rows[0]["score_calm"]) + float(rows[0]["score_happy"]) == pytest.approx(1)
    assert (rows[1]["score_calm"], rows[1]["score_value"]) == ("", rows[1]["predicted"])


def test_file_of_a_run_that_stopped_is_not_written(tmp_path: Path) -> None:
    def stopped() -> None:
        with csv_file(tmp_path / "out.csv", HEADS) as write:
            write("a", predicted(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert list(tmp_path.iterdir()) == []


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FeatureFileError, match=r"cannot write .*out\.json"), json_file(tmp_path / "file" / "out.json"):
        pass
