"""DFEW, FERV39k and MAFW."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.datasets.trees import clips_of, column, note, plant, read_back, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError

DFEW = "EmoLabel_DataSplit/{split}(single-labeled)/set_{fold}.csv"


@pytest.fixture
def dfew(tmp_path: Path) -> Path:
    for fold, (train, test) in {1: ("1,1\n2,7\n00003,3\n", "4,4\n9,2\n"), 2: ("4,4\n", "1,1\n")}.items():
        note(tmp_path, DFEW.format(split="train", fold=fold), f"video_name,label\n{train}")
        note(tmp_path, DFEW.format(split="test", fold=fold), f"video_name,label\n{test}")
    return plant(tmp_path, *(f"Clip/jpg_256/{index:05d}/1.jpg" for index in (1, 2, 3, 4, 77)))


def test_dfew_labels_count_from_one(dfew: Path) -> None:
    table = read("dfew", dfew)
    assert column(table, "emotion") == {"00001": "happy", "00002": "fear", "00003": "neutral", "00004": "angry"}
    assert (table.absent, table.unlisted) == (["00009"], ["Clip/jpg_256/00077"])


def test_dfew_has_five_folds_and_no_validation(dfew: Path) -> None:
    assert splits_of(read("dfew", dfew))["00004"] == "test"
    table = read("dfew", dfew, fold="2")
    assert (splits_of(table), table.split_by) == ({"00004": "train", "00001": "test"}, "fold 2 of 5")
    assert any("never the test part" in one for one in table.notes)
    with pytest.raises(ConfigError, match=r"has no EmoLabel_DataSplit/train.*set_3\.csv"):
        read("dfew", dfew, fold="3")


def test_dfew_clips_are_folders_of_frames_without_a_group(dfew: Path, tmp_path: Path) -> None:
    table = read("dfew", dfew)
    assert Path(read_back(table, tmp_path / "clips.csv")[0].source).is_dir()
    assert any("without a group" in one for one in table.notes)


def test_dfew_may_be_named_as_by_s2d(dfew: Path) -> None:
    for split in ("train", "test"):
        path = dfew / DFEW.format(split=split, fold=1)
        path.rename(path.with_name(f"{split}_set_1.csv"))
    assert len(read("dfew", dfew).clips) == 4


@pytest.mark.parametrize(
    ("row", "message"), [("5,0", "line 5: "), ("5,8", "line 5: "), ("x,1", "line 5: .*expected a")]
)
def test_dfew_rubbish_names_the_line(dfew: Path, row: str, message: str) -> None:
    note(dfew, DFEW.format(split="train", fold=1), f"video_name,label\n1,1\n2,7\n3,3\n{row}\n")
    with pytest.raises(ConfigError, match=message):
        read("dfew", dfew)


def test_a_clip_in_both_lists_is_an_error(dfew: Path) -> None:
    note(dfew, DFEW.format(split="test", fold=1), "video_name,label\n1,1\n")
    with pytest.raises(ConfigError, match="00001 is in the training and the test list"):
        read("dfew", dfew)


@pytest.fixture
def ferv39k(tmp_path: Path) -> Path:
    note(tmp_path, "4_setups/All_scenes/train_All.csv", "Action/Happy/0003 Happy\nCrime/Sad/0001 Sad\n")
    note(tmp_path, "4_setups/All_scenes/test_All.csv", "Action/Fear/0001 Fear\nAction/Fear/0009 Fear\n")
    names = ("Action/Happy/0003/1.jpg", "Crime/Sad/0001.mp4", "Action/Fear/0001/1.jpg", "Action/Fear/0002/1.jpg")
    return plant(tmp_path, *(f"2_ClipsforFaceCrop/{name}" for name in names))


def test_ferv39k_lists_have_blanks_between(ferv39k: Path) -> None:
    table = read("ferv39k", ferv39k)
    assert column(table, "emotion") == {
        "Action/Happy/0003": "happy",
        "Crime/Sad/0001": "sad",
        "Action/Fear/0001": "fear",
    }
    assert column(table, "scene")["Crime/Sad/0001"] == "Crime"
    assert clips_of(table)["Crime/Sad/0001"].path.suffix == ".mp4"
    assert (table.split_by, splits_of(table)["Action/Fear/0001"]) == ("official", "test")
    assert (table.absent, table.unlisted) == (["Action/Fear/0009"], ["Action/Fear/0002"])


def test_ferv39k_rubbish_names_the_line(ferv39k: Path) -> None:
    note(ferv39k, "4_setups/All_scenes/test_All.csv", "Action/Fear/0001,Fear\n")
    with pytest.raises(ConfigError, match=r"test_All\.csv, line 1: .*expected 'Scene/Emotion/0001 Emotion'"):
        read("ferv39k", ferv39k)


@pytest.mark.parametrize("lists", ["split", "Train & Test Set"])
def test_mafw_videos_are_found_wherever_they_are(tmp_path: Path, lists: str) -> None:
    note(tmp_path, f"{lists}/single/no_caption/set_2/train.txt", "00025.mp4 anger\n00026.mp4 contempt\n")
    note(tmp_path, f"{lists}/single/no_caption/set_2/test.txt", "00001.mp4 happiness\n")
    plant(tmp_path, "data/clips/00025.mp4", "data/clips/00001.mp4", "data/clips/00099.mp4")
    table = read("mafw", tmp_path, fold="2")
    assert column(table, "emotion") == {"00025": "anger", "00001": "happiness"}
    assert (table.split_by, splits_of(table)) == ("fold 2 of 5", {"00025": "train", "00001": "test"})
    assert (table.absent, table.unlisted) == (["00026"], ["00099"])
    note(tmp_path, f"{lists}/single/no_caption/set_2/test.txt", "00001.mp4\n")
    with pytest.raises(ConfigError, match=r"test\.txt, line 1: '00001\.mp4'; expected '00025\.mp4 anger'"):
        read("mafw", tmp_path, fold="2")
