"""LRS2."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.datasets.trees import clips_of, column, note, plant, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError

ONE, TWO = "5535415699068794046", "6330311066473698535"
TEXT = "Text:  WHEN YOU'RE COOKING\nConf:  4\n\nWORD START END ASDSCORE\nWHEN 0.05 0.2 3.1\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    note(tmp_path, "train.txt", f"{ONE}/00001\n{ONE}/00009\n")
    note(tmp_path, "val.txt", f"{TWO}/00007\n")
    note(tmp_path, "test.txt", f"{TWO}/00011 NF\n{TWO}/00012 MV\n")
    note(tmp_path, "pretrain.txt", f"{ONE}/00002\n")
    for name in (f"{ONE}/00001", f"{TWO}/00007", f"{TWO}/00011", f"{TWO}/00012"):
        note(tmp_path, f"mvlrs_v1/main/{name}.txt", TEXT)
        plant(tmp_path, f"mvlrs_v1/main/{name}.mp4")
    return plant(tmp_path, f"mvlrs_v1/main/{ONE}/00099.mp4", f"mvlrs_v1/pretrain/{ONE}/00002.mp4")


def test_only_the_first_word_of_a_line_is_the_clip(root: Path) -> None:
    assert splits_of(read("lrs2", root)) == {
        f"main/{ONE}/00001": "train",
        f"main/{TWO}/00007": "val",
        f"main/{TWO}/00011": "test",
        f"main/{TWO}/00012": "test",
    }


def test_the_text_is_that_beside_the_video(root: Path) -> None:
    table = read("lrs2", root)
    assert column(table, "text")[f"main/{TWO}/00011"] == "WHEN YOU'RE COOKING"
    assert column(table, "confidence")[f"main/{TWO}/00011"] == 4
    assert clips_of(table)[f"main/{TWO}/00011"].group == f"dir-{TWO}"
    assert table.absent == [f"main/{ONE}/00009"]
    assert table.unlisted == [f"mvlrs_v1/main/{ONE}/00099.mp4"]
    assert f"1 group (dir-{TWO}) is in more than one part of the official split." in table.notes


def test_the_parts_for_pretraining_are_asked_for(root: Path) -> None:
    assert splits_of(read("lrs2", root, part="pretrain")) == {f"pretrain/{ONE}/00002": "pretrain"}
    table = read("lrs2", root, part="all")
    assert (len(table.clips), table.unlisted) == (5, [f"mvlrs_v1/main/{ONE}/00099.mp4"])


def test_the_folder_may_be_mvlrs_itself_with_the_lists_in_it(root: Path) -> None:
    for split in ("train", "val", "test"):
        (root / f"{split}.txt").rename(root / "mvlrs_v1" / f"{split}.txt")
    assert len(read("lrs2", root / "mvlrs_v1").clips) == len(read("lrs2", root).clips) == 4


@pytest.mark.parametrize("line", ["../../etc/passwd", "00001", f"{ONE}/00001.mp4"])
def test_rubbish_names_the_line(root: Path, line: str) -> None:
    note(root, "val.txt", f"\n{line}\n")
    with pytest.raises(ConfigError, match=r"val\.txt, line 2: "):
        read("lrs2", root)


def test_a_text_without_text_is_an_error(root: Path) -> None:
    note(root, f"mvlrs_v1/main/{TWO}/00007.txt", "<html>")
    with pytest.raises(ConfigError, match=r"00007\.txt has no line 'Text: \.\.\.'"):
        read("lrs2", root)


def test_a_missing_list_is_an_error(root: Path) -> None:
    (root / "test.txt").unlink()
    with pytest.raises(ConfigError, match=r"has no test\.txt or mvlrs_v1/test\.txt; expected"):
        read("lrs2", root)
