"""The check of a table, and its counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from marlin_sdk.datasets import Clip, Table
from marlin_sdk.datasets.checking import SLACK_S, Count, check, count
from marlin_sdk.datasets.table import Label
from marlin_sdk.errors import ConfigError, VideoDecodeError

DURATIONS: dict[str, float | None] = {"long": 10.0, "unknown": None}


def duration_of(path: Path) -> float | None:
    if path.name == "broken":
        raise VideoDecodeError("no video")
    return DURATIONS[path.name]


def clip(name: str, start_s: float | None = None, end_s: float | None = None) -> Clip:
    return Clip(Path(name), f"{name}@{start_s}-{end_s}", start_s, end_s)


def test_parts_outside_the_video_and_files_that_are_no_videos_are_left_out_and_named() -> None:
    clips = (
        clip("long"),
        clip("long", 9, 10 + SLACK_S),
        clip("long", 9, 10.5),
        clip("long", 10, None),
        clip("long", 0, 10),
        clip("broken"),
        clip("unknown", 0, 99),
    )
    opened = []
    table = Table("mine", clips, "seed 0", dropped={"too dark": ["x"]})
    checked = check(table, duration_of, on_file=lambda: opened.append(1))
    assert [one.id for one in checked.clips] == [clips[0].id, clips[1].id, clips[4].id, clips[6].id]
    assert checked.dropped == {
        "too dark": ["x"],
        "the part lies outside the video": [clips[2].id, clips[3].id],
        "the file cannot be opened as a video": [clips[5].id],
    }
    assert checked.notes == ["1 files declare no duration: the ends of their parts are not checked."]
    assert len(opened) == 3


def test_a_table_of_which_nothing_is_left_says_why() -> None:
    with pytest.raises(ConfigError, match=r"1 clip \(broken@None-None\) is left out: the file cannot be opened"):
        check(Table("mine", (clip("broken"),), "seed 0"), duration_of, on_file=lambda: None)


def test_labels_are_counted_by_split() -> None:
    splits = ("train", "train", "test")
    labels: list[dict[str, Label]] = [
        {"on": True, "level": 2, "x": 0.5, "word": "b", "flag": False},
        {"on": False, "level": 10, "x": 1.5, "word": "a", "flag": False},
        {"on": True, "level": 2, "x": None, "word": "a", "flag": False},
    ]
    clips = [
        Clip(Path("a"), str(index), labels=one, split=split)
        for index, (one, split) in enumerate(zip(labels, splits, strict=True))
    ]
    table = Table("mine", clips, "seed 0")
    assert list(table.splits) == ["train", "test"]
    assert list(count(table)) == [
        Count("on", "true", [1, 1]),
        Count("level", "2", [1, 1]),
        Count("level", "10", [1, 0]),
        Count("x", "0.5 to 1.5", [2, 0]),
        Count("word", "a", [1, 1]),
        Count("word", "b", [1, 0]),
        Count("flag", "true", [0, 0]),
    ]


def test_a_label_of_many_values_is_counted_at_once() -> None:
    clips = [Clip(Path("a"), str(index), labels={"text": f"word {index}"}) for index in range(100)]
    assert list(count(Table("mine", clips, "nobody"))) == [Count("text", "100 values", [100])]
