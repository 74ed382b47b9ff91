"""Celeb-DF v2."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.datasets.trees import clips_of, column, note, plant, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError

FILES = (
    "Celeb-real/id0_0000.mp4",
    "Celeb-real/id1_0000.mp4",
    "YouTube-real/00000.mp4",
    "Celeb-synthesis/id0_id1_0000.mp4",
    "Celeb-synthesis/id1_id0_0000.mp4",
)
LIST = "1 Celeb-real/id1_0000.mp4\n0 Celeb-synthesis/id1_id0_0000.mp4\n1 YouTube-real/00009.mp4\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    note(tmp_path, "List_of_testing_videos.txt", LIST)
    return plant(tmp_path, *FILES)


def test_one_is_real_in_the_list_and_fake_is_true_in_the_table(root: Path) -> None:
    assert column(read("celeb-df", root), "fake") == {
        "Celeb-real/id0_0000": False,
        "Celeb-real/id1_0000": False,
        "YouTube-real/00000": False,
        "Celeb-synthesis/id0_id1_0000": True,
        "Celeb-synthesis/id1_id0_0000": True,
    }


def test_the_list_is_the_test_part(root: Path) -> None:
    table = read("celeb-df", root)
    assert [id for id, split in splits_of(table).items() if split == "test"] == [
        "Celeb-real/id1_0000",
        "Celeb-synthesis/id1_id0_0000",
    ]
    assert set(splits_of(table).values()) == {"train", "test"}
    assert (table.split_by, table.absent) == ("official", ["YouTube-real/00009.mp4"])


def test_the_group_is_the_target_and_of_youtube_the_video(root: Path) -> None:
    clips = clips_of(read("celeb-df", root))
    assert clips["Celeb-synthesis/id0_id1_0000"].group == clips["Celeb-real/id0_0000"].group == "id0"
    assert clips["YouTube-real/00000"].group == "youtube-00000"


def test_people_on_both_sides_of_the_official_split_are_said(root: Path) -> None:
    plant(root, "Celeb-real/id1_0001.mp4")
    assert "1 group (id1) is in more than one part of the official split." in read("celeb-df", root).notes


def test_a_list_with_labels_the_other_way_round_is_refused(root: Path) -> None:
    note(root, "List_of_testing_videos.txt", "\n0 Celeb-real/id1_0000.mp4\n")
    with pytest.raises(ConfigError, match=r"line 2: .* says fake of a video in Celeb-real; expected 1 for real"):
        read("celeb-df", root)


@pytest.mark.parametrize("line", ["2 Celeb-real/id1_0000.mp4", "1", "1 ../secret.mp4", "Celeb-real/id1_0000.mp4 1"])
def test_rubbish_names_the_line(root: Path, line: str) -> None:
    note(root, "List_of_testing_videos.txt", f"{LIST}{line}\n")
    with pytest.raises(ConfigError, match=r"List_of_testing_videos\.txt, line 4: "):
        read("celeb-df", root)


def test_a_half_unpacked_folder_is_an_error(root: Path) -> None:
    for file in (root / "Celeb-synthesis").iterdir():
        file.unlink()
    with pytest.raises(ConfigError, match=r"has no video in Celeb-synthesis; expected .* Unpack all of it"):
        read("celeb-df", root)
