"""CelebV-HQ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.datasets.trees import clips_of, column, note, plant, read_back, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError

IDS = ("-dash_1", "a_0", "b_0", "c_0", "gone")
EMOTIONS: list[dict[str, Any]] = [
    {"emotion": "neutral", "start_sec": 0, "end_sec": 2.5},
    {"emotion": "happy", "start_sec": 2.5, "end_sec": 4.04},
    {"emotion": "sad", "start_sec": 4, "end_sec": 9},
]


def info() -> dict[str, Any]:
    clips = {
        id: {
            "ytb_id": id.split("_")[0],
            "duration": {"start_sec": 81.0, "end_sec": 85.0},
            "attributes": {
                "appearance": [1, 0],
                "action": [0, 1, index % 2],
                "emotion": {"sep_flag": False, "labels": "neutral"},
            },
        }
        for index, id in enumerate(IDS)
    }
    clips["b_0"]["attributes"]["emotion"] = {"sep_flag": True, "labels": EMOTIONS}  # type: ignore[index]
    mapping = {"appearance_mapping": ["Male", "Young"], "action_mapping": ["talk", "nod", "smile"]}
    return {"meta_info": mapping, "clips": clips}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    note(tmp_path, "celebvhq_info.json", info())
    return plant(tmp_path, *(f"processed/{id}.mp4" for id in IDS if id != "gone"), "processed/stray.mp4")


def test_attributes_are_columns_of_true_and_false(root: Path) -> None:
    table = read("celebv-hq", root)
    assert table.labels == ("appearance.Male", "appearance.Young", "action.talk", "action.nod", "action.smile")
    assert column(table, "appearance.Male") == dict.fromkeys(IDS[:4], True)
    assert column(table, "action.smile") == {"-dash_1": False, "a_0": True, "b_0": False, "c_0": True}
    assert (table.absent, table.unlisted) == (["gone"], ["processed/stray.mp4"])


def test_one_kind_of_attributes_may_be_asked_for(root: Path) -> None:
    assert read("celebv-hq", root, task="action").labels == ("action.talk", "action.nod", "action.smile")


def test_an_id_may_begin_with_a_dash(root: Path, tmp_path: Path) -> None:
    videos = read_back(read("celebv-hq", root), tmp_path / "clips.csv")
    assert videos[0].id == "-dash_1"
    assert Path(videos[0].source).is_file()


def test_an_emotion_that_changes_gives_a_row_for_each_interval_within_the_clip(root: Path) -> None:
    table = read("celebv-hq", root, task="emotion")
    clips = clips_of(table)
    assert [id for id in clips if id.startswith("b_0")] == ["b_0@0.00-2.50", "b_0@2.50-4.04"]
    assert (clips["b_0@2.50-4.04"].start_s, clips["b_0@2.50-4.04"].end_s) == (2.5, 4.04)
    assert column(table, "emotion")["b_0@2.50-4.04"] == "happy"
    assert (clips["a_0"].start_s, clips["a_0"].labels) == (None, {"emotion": "neutral"})
    assert table.dropped == {"an interval of an emotion that is empty or outside the clip": ["b_0@4.0-9.0"]}


def test_the_group_is_the_video_of_youtube(root: Path) -> None:
    groups = {clip.id: clip.group for clip in read("celebv-hq", root).clips}
    assert groups == {"-dash_1": "-dash", "a_0": "a", "b_0": "b", "c_0": "c"}


def test_without_lists_the_split_is_by_the_seed(root: Path) -> None:
    assert read("celebv-hq", root, seed=5).split_by == "seed 5"


def test_lists_beside_the_json_are_the_split(root: Path) -> None:
    note(root, "train.txt", "-dash_1\na_0.mp4\n")
    note(root, "val.txt", "b_0\n")
    note(root, "test.txt", "gone\n")
    table = read("celebv-hq", root)
    assert splits_of(table) == {"-dash_1": "train", "a_0": "train", "b_0": "val"}
    assert table.split_by == "listed"
    assert table.dropped == {"in none of the lists of the split": ["c_0"]}
    note(root, "test.txt", "a_0\n")
    with pytest.raises(ConfigError, match=r"test\.txt, line 1: a_0 is in train\.txt too"):
        read("celebv-hq", root)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("clips",), [], r"celebvhq_info\.json: clips is \[\]; expected a dict"),
        (("clips", "a_0", "attributes", "appearance"), [1], "clip 'a_0': appearance is .1.; expected 2 values"),
        (("clips", "a_0", "attributes", "action"), [0, 1, 7], "clip 'a_0': action .* each 0 or 1"),
        (("clips", "a_0", "ytb_id"), None, "clip 'a_0': ytb_id is None; expected a str"),
        (("meta_info",), 3, "meta_info is 3; expected a dict"),
    ],
)
def test_rubbish_names_the_clip(root: Path, path: tuple[str, ...], value: object, message: str) -> None:
    damaged = info()
    place = damaged
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    note(root, "celebvhq_info.json", damaged)
    with pytest.raises(ConfigError, match=message):
        read("celebv-hq", root)


def test_a_half_unpacked_folder_is_an_error(tmp_path: Path) -> None:
    note(tmp_path, "celebvhq_info.json", info())
    with pytest.raises(ConfigError, match=r"has no processed or downloaded; expected .* Unpack all of it"):
        read("celebv-hq", tmp_path)
