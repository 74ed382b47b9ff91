"""DFDC."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.datasets.trees import clips_of, column, note, plant, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for part in (2, 10):
        entries: dict[str, object] = {}
        for index in range(3):
            real = f"r{part}{index}.mp4"
            entries[real] = {"label": "REAL", "split": "train", "original": None}
            entries[f"f{part}{index}.mp4"] = {"label": "FAKE", "split": "train", "original": real}
        note(tmp_path, f"dfdc_train_part_{part}/metadata.json", entries)
        plant(tmp_path / f"dfdc_train_part_{part}", *entries, "stray.mp4")
    return tmp_path


def test_labels_groups_and_parts(root: Path) -> None:
    table = read("dfdc", root)
    clips = clips_of(table)
    assert column(table, "fake")["dfdc_train_part_2/f20"] is True
    assert column(table, "part")["dfdc_train_part_10/r100"] == 10
    assert clips["dfdc_train_part_2/f20"].group == clips["dfdc_train_part_2/r20"].group == "r20"
    assert table.unlisted == ["dfdc_train_part_2/stray.mp4", "dfdc_train_part_10/stray.mp4"]


def test_a_split_that_is_only_train_is_none(root: Path) -> None:
    table = read("dfdc", root)
    assert table.split_by == "seed 0"
    assert set(splits_of(table).values()) == {"train", "val", "test"}


def test_several_splits_are_kept(root: Path) -> None:
    entries = {"r20.mp4": {"label": "REAL", "split": "test"}, "gone.mp4": {"label": "REAL", "split": "test"}}
    note(root, "dfdc_train_part_2/metadata.json", entries)
    table = read("dfdc", root)
    assert (table.split_by, splits_of(table)["dfdc_train_part_2/r20"]) == ("official", "test")
    assert table.absent == ["dfdc_train_part_2/gone.mp4"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "part_2/metadata.json: list; expected an object"),
        ({"a.mp4": {"label": "fake"}}, "part_2/metadata.json, 'a.mp4': .* expected the label FAKE or REAL"),
        ({"a.mp4": {"label": ["FAKE"]}}, "'a.mp4': .* expected the label"),
        ({"a.mp4": 3}, "'a.mp4': 3; expected the label"),
    ],
)
def test_rubbish_names_the_video(root: Path, content: dict[str, object], message: str) -> None:
    note(root, "dfdc_train_part_2/metadata.json", content)
    with pytest.raises(ConfigError, match=message):
        read("dfdc", root)


def test_a_path_that_leads_out_is_absent(root: Path) -> None:
    plant(root, "secret.mp4")
    note(root, "dfdc_train_part_2/metadata.json", {"../secret.mp4": {"label": "REAL"}})
    assert read("dfdc", root).absent == ["dfdc_train_part_2/../secret.mp4"]


def test_another_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no folder dfdc_train_part_<N>; expected"):
        read("dfdc", tmp_path)
