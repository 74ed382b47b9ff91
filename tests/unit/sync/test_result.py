"""What is said of a video, in words, JSON and a picture."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from marlin_sdk.errors import FeatureFileError
from marlin_sdk.sync.curve import Reading
from marlin_sdk.sync.picture import draw_score
from marlin_sdk.sync.result import Part, SyncScore, TrackSync, write_json


def track(track_id: int, offset_ms: float, confidence: float) -> TrackSync:
    curve = tuple(1.4 - confidence * (shift == round(offset_ms / 40)) for shift in range(-15, 16))
    reading = Reading(offset_ms, confidence, 1.4 - confidence, (math.nan, *curve[1:]))
    parts = (
        Part(0.0, 4.0, offset_ms, confidence, 1.4 - confidence),
        Part(4.0, 8.0, offset_ms + 8, confidence / 9, 1.4 - confidence / 9),
    )
    return TrackSync(track_id, 0.0, 8.0, 90, reading, parts)


SCORE = SyncScore("talk.mp4", (track(0, 400, 0.05), track(3, 120, 0.3)), 1.3, {"stride": 4})


def test_the_speaker_is_the_best_face_if_it_is_sure() -> None:
    assert SCORE.speaker == 3
    assert SCORE.verdict() == "the sound is 120 ms late, confidence 0.300"
    unsure = replace(SCORE, tracks=(track(0, 400, 0.05), track(3, 120, 0.09)))
    assert unsure.speaker is None
    assert unsure.best is unsure.tracks[1]
    assert unsure.verdict().startswith("no answer: the lips of no face fit the sound (distance 1.310;")


def test_early_the_end_of_the_range_and_no_threshold_are_said() -> None:
    early = replace(SCORE, tracks=(track(1, -80, 0.3),))
    assert early.verdict() == "the sound is 80 ms early, confidence 0.300"
    end = replace(SCORE, tracks=(track(1, 600, 0.3),))
    assert "it may be off by more" in end.verdict()
    unknown = replace(SCORE, max_distance=None)
    assert unknown.speaker == 3
    assert "how sure is unknown" in unknown.verdict()


def test_without_sound_beside_a_face_there_is_nothing_to_say() -> None:
    silent = SyncScore("talk.mp4", (TrackSync(0, 0.0, 2.0, 10, None),), 1.3)
    assert silent.best is None
    assert silent.speaker is None
    assert silent.verdict() == "no face is shown while there is sound"
    assert silent.to_dict()["tracks"][0]["curve"] == []


def test_json_is_plain_and_strict(tmp_path: Path) -> None:
    write_json([SCORE.to_dict()], tmp_path / "score.json")
    (found,) = json.loads((tmp_path / "score.json").read_text())
    assert found["speaker"] == 3
    assert found["shifts"] == list(range(-15, 16))
    assert found["tracks"][1]["curve"][0] is None
    assert found["tracks"][1]["curve"][18] == pytest.approx(1.1)
    assert found["tracks"][1]["parts"][1]["offset_ms"] == 128
    with pytest.raises(FeatureFileError, match="cannot write"):
        write_json([], tmp_path / "score.json" / "x.json")  # a file, no folder


@pytest.mark.parametrize(("suffix", "head"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_picture_is_drawn(tmp_path: Path, suffix: str, head: bytes) -> None:
    draw_score(SCORE, tmp_path / f"score{suffix}")
    assert (tmp_path / f"score{suffix}").read_bytes().startswith(head)
    with pytest.raises(FeatureFileError, match="cannot write"):
        draw_score(SCORE, tmp_path / f"score{suffix}" / f"x{suffix}")
