"""AV-Deepfake1M and AV-Deepfake1M++."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.datasets.trees import clips_of, column, note, plant, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError


def entry(file: str, modify_type: str, *, visual: Any = (), audio: Any = ()) -> dict[str, Any]:
    return {
        "file": file,
        "original": "p/v/real.mp4",
        "split": "train",
        "modify_type": modify_type,
        "audio_model": "yourtts" if audio else None,
        "fake_segments": sorted([*visual, *audio]),
        "visual_fake_segments": [*visual],
        "audio_fake_segments": [*audio],
        "video_frames": 100,
    }


ENTRIES = (
    entry("p/v/real.mp4", "real"),
    entry("p/v/both.mp4", "both-modified", visual=[[0.4, 0.8]], audio=[[0.4, 0.8]]),
    entry("p/v/sound.mp4", "audio_modified", audio=[[1, 1.5]]),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    note(tmp_path, "train_metadata.json", list(ENTRIES))
    return plant(tmp_path, *(f"train/{one['file']}" for one in ENTRIES))


def check(root: Path) -> None:
    table = read("av-deepfake1m", root)
    assert column(table, "fake") == {"train/p/v/real": False, "train/p/v/both": True, "train/p/v/sound": True}
    assert column(table, "fake_visual")["train/p/v/sound"] is False
    assert column(table, "fake_audio")["train/p/v/both"] is True
    assert column(table, "fake_segments")["train/p/v/sound"] == "[[1.0, 1.5]]"
    assert {clip.group for clip in table.clips} == {"p/v/real.mp4"}
    assert (table.split_by, set(splits_of(table).values())) == ("official", {"train"})


def test_one_list(root: Path) -> None:
    check(root)


def test_a_list_for_each_video(root: Path) -> None:
    (root / "train_metadata.json").unlink()
    for one in ENTRIES:
        note(root, f"train_metadata/{one['file']}.json", one)
    check(root)


def test_a_list_beside_each_video_as_in_plus_plus(root: Path) -> None:
    (root / "train_metadata.json").unlink()
    for one in ENTRIES:
        note(root, f"train/{one['file'].removesuffix('.mp4')}.json", {**one, "file": "elsewhere.mp4"})
    check(root)


@pytest.mark.parametrize("spelling", ["both_modified", "both-modified"])
def test_both_spellings_are_one(root: Path, spelling: str) -> None:
    note(root, "train_metadata.json", [{**ENTRIES[1], "modify_type": spelling}])
    assert column(read("av-deepfake1m", root), "modify_type") == {"train/p/v/both": "both_modified"}


def test_the_test_part_has_no_labels(root: Path) -> None:
    note(root, "test_files.txt", "1.mp4\n2.mp4\n")
    plant(root, "test/1.mp4", "train/p/stray.mp4")
    table = read("av-deepfake1m", root)
    assert (splits_of(table)["test/1"], clips_of(table)["test/1"].labels) == ("test", {})
    assert (table.absent, table.unlisted) == (["test/2.mp4"], ["train/p/stray.mp4"])


def test_a_path_that_leads_out_is_absent(root: Path) -> None:
    note(root, "train_metadata.json", [*ENTRIES, {**ENTRIES[0], "file": "../../etc/passwd"}])
    assert read("av-deepfake1m", root).absent == ["train/../../etc/passwd"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "train_metadata.json: dict; expected a list"),
        ([{"name": "x"}], "train_metadata.json: .* expected an object with 'file'"),
        ([{"file": "a.mp4", "fake_segments": [[1]]}], r"entry 0: fake_segments is \[\[1\]\]; expected"),
        ([{"file": "a.mp4", "fake_segments": [[float("nan"), 1.0]]}], "entry 0: fake_segments is .*nan.*; expected"),
        ([{"file": "a.mp4", "fake_segments": [[False, True]]}], "entry 0: fake_segments is .*True.*; expected"),
    ],
)
def test_rubbish_names_the_entry(root: Path, content: list[object], message: str) -> None:
    note(root, "train_metadata.json", content)
    with pytest.raises(ConfigError, match=message):
        read("av-deepfake1m", root)


def test_another_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no list of videos; expected"):
        read("av-deepfake1m", tmp_path)
