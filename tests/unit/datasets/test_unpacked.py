"""The folder of a data set, whose files and lists are untrusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.making import lay
from tests.unit.datasets.trees import note, plant

from marlin_sdk.datasets.unpacked import UnpackedFolder, stem
from marlin_sdk.errors import ConfigError


def folder(root: Path) -> UnpackedFolder:
    return UnpackedFolder(root, "this and that")


def test_no_folder_is_an_error_that_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*absent; expected this and that"):
        folder(tmp_path / "absent")


@pytest.mark.parametrize(
    "name",
    ["../secret.mp4", "/etc/passwd", "a/../../secret.mp4", "a//b.mp4", "", "a\0b", "..", "\ud800/a", "a" * 300 + "/b"],
)
def test_a_name_that_leads_out_names_no_file(tmp_path: Path, name: str) -> None:
    plant(tmp_path, "secret.mp4", "root/a/b.mp4")
    assert folder(tmp_path / "root").has("a/b.mp4")
    assert not folder(tmp_path / "root").has(name)


def test_videos_are_found_below_sorted_without_hidden_ones(tmp_path: Path) -> None:
    plant(tmp_path, "b/z.MP4", "a.mp4", "b/._z.mp4", ".trash/c.mp4", "b/list.txt", "b/c/d.avi")
    (tmp_path / "b" / "again").symlink_to(tmp_path)
    assert folder(tmp_path).files() == ["a.mp4", "b/c/d.avi", "b/z.MP4"]
    assert folder(tmp_path).files("b/c") == ["b/c/d.avi"]
    assert folder(tmp_path).files("nowhere") == []


def test_a_video_is_found_by_its_name_and_two_are_an_error(tmp_path: Path) -> None:
    plant(tmp_path, "deep/down/00025.mp4", "a/twice.mp4", "b/twice.avi")
    assert folder(tmp_path).find("00025") == "deep/down/00025.mp4"
    assert folder(tmp_path).find("00026") is None
    with pytest.raises(ConfigError, match=r"twice: a/twice\.mp4 and b/twice\.avi"):
        folder(tmp_path).find("twice")


@pytest.mark.parametrize(
    ("name", "expected"), [("a/b.mp4", "b"), ("b.AVI", "b"), ("b", "b"), ("Mr.Smith", "Mr.Smith"), ("-x.mp4", "-x")]
)
def test_stem_takes_only_the_suffix_of_a_video(name: str, expected: str) -> None:
    assert stem(name) == expected


def test_rows_have_stripped_names_and_cells_and_their_lines(tmp_path: Path) -> None:
    note(tmp_path, "l.csv", "\ufeffid, Frustration \n\n1 , 3\n")
    assert list(folder(tmp_path).rows("l.csv", "Frustration")) == [
        (f"{tmp_path}/l.csv, line 3", {"id": "1", "Frustration": "3"})
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,label\n1\n", r"l\.csv, line 2: 1 cells; expected 2"),
        ("id,label\n1,2,3\n", r"l\.csv, line 2: 3 cells; expected 2"),
        ("id,lable\n1,2\n", r"l\.csv, line 1: columns \['id', 'lable'\]; expected id, label"),
        ("", r"l\.csv, line 1: columns \[\]"),
        ('id,label\n"1,2\n', r"l\.csv, line 2: .*expected CSV"),
    ],
)
def test_rubbish_for_csv_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    note(tmp_path, "l.csv", text)
    with pytest.raises(ConfigError, match=message):
        list(folder(tmp_path).rows("l.csv", "id", "label"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("{\n'a'}", r"l\.json, line 2"), ("[" * 100_000, r"l\.json"), ("9" * 5000, r"l\.json is not usable")],
)
def test_rubbish_for_json_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    note(tmp_path, "l.json", text)
    with pytest.raises(ConfigError, match=message):
        folder(tmp_path).json("l.json")


def test_a_list_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    lay(tmp_path / "l.txt", b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"l\.txt cannot be read"):
        list(folder(tmp_path).lines("l.txt"))


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    plant(tmp_path, "a/b.mp4")
    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(ConfigError, match=r"/a cannot be read: Permission denied"):
        folder(tmp_path).has("a/b.mp4")
