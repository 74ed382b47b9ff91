"""Folders whose names are labels."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.datasets.trees import clips_of, column, plant, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError


def test_the_first_folder_is_the_label_and_the_second_the_group(tmp_path: Path) -> None:
    plant(tmp_path, "happy/ann/1.mp4", "happy/2.mov", "sad/bob/3.mp4", "4.mp4", "sad/notes.txt")
    table = read("folder", tmp_path)
    assert column(table, "label") == {"happy/2": "happy", "happy/ann/1": "happy", "sad/bob/3": "sad"}
    assert {clip.id: clip.group for clip in table.clips} == {"happy/2": "", "happy/ann/1": "ann", "sad/bob/3": "bob"}
    assert (table.unlisted, table.split_by) == (["4.mp4"], "seed 0")
    assert any("1 clip (happy/2) is without a group" in one for one in table.notes)


def test_folders_named_like_splits_are_splits(tmp_path: Path) -> None:
    plant(tmp_path, "Train/happy/1.mp4", "valid/sad/2.mp4", "test/sad/3.mp4", "test/4.mp4")
    table = read("folder", tmp_path)
    assert splits_of(table) == {"Train/happy/1": "train", "valid/sad/2": "val", "test/sad/3": "test"}
    assert clips_of(table)["valid/sad/2"].labels == {"label": "sad"}
    assert (table.split_by, table.unlisted) == ("its folders", ["test/4.mp4"])


def test_two_files_of_one_name_are_an_error(tmp_path: Path) -> None:
    plant(tmp_path, "happy/1.mp4", "happy/1.avi")
    with pytest.raises(ConfigError, match=r"'happy/1' is that of both .*1\.avi and .*1\.mp4"):
        read("folder", tmp_path)


def test_a_folder_without_labels_is_an_error(tmp_path: Path) -> None:
    plant(tmp_path, "1.mp4")
    with pytest.raises(ConfigError, match="has no video in a folder that names its label"):
        read("folder", tmp_path)
