"""EngageNet and DAiSEE."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.datasets.trees import clips_of, column, note, plant, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError

LABELS = (
    "chunk,label\nann-1_0.mp4,Engaged\nann-1_1.mp4,SNP(Subject Not Present)\nbob-1_0,Not-Engaged\n"
    "cat-1_0.mp4,Highly-Engaged\ndan-1_0.mp4,Barely-engaged\neve-1_0.mp4,Engaged\n"
)


@pytest.fixture
def engagenet(tmp_path: Path) -> Path:
    note(tmp_path, "final_labels.csv", LABELS)
    note(tmp_path, "train.txt", "ann-1_0.mp4\nann-1_1.mp4\n")
    note(tmp_path, "valid.txt", "bob-1_0\n")
    note(tmp_path, "test.txt", "cat-1_0.mp4\ndan-1_0.mp4\nfay-1_0.mp4\n")
    names = ("Train/ann-1_0", "Train/ann-1_1", "Validation/bob-1_0", "Test/cat-1_0", "Test/stray", "Test/eve-1_0")
    return plant(tmp_path, *(f"{name}.mp4" for name in names))


def test_engagenet_levels_groups_and_splits(engagenet: Path) -> None:
    table = read("engagenet", engagenet)
    assert column(table, "engagement") == {"ann-1_0": "Engaged", "bob-1_0": "Not-Engaged", "cat-1_0": "Highly-Engaged"}
    assert column(table, "level") == {"ann-1_0": 2, "bob-1_0": 0, "cat-1_0": 3}
    assert splits_of(table) == {"ann-1_0": "train", "bob-1_0": "val", "cat-1_0": "test"}
    assert clips_of(table)["ann-1_0"].group == "ann"


def test_engagenet_leaves_out_clips_without_a_person_and_counts_all(engagenet: Path) -> None:
    table = read("engagenet", engagenet)
    assert table.dropped == {
        "the label is SNP(Subject Not Present)": ["ann-1_1"],
        "in none of train.txt, valid.txt and test.txt": ["eve-1_0"],
        "in a list, but without a label": ["fay-1_0"],
    }
    assert (table.absent, table.unlisted) == (["dan-1_0"], ["stray"])


def test_engagenet_rubbish_names_the_line(engagenet: Path) -> None:
    note(engagenet, "final_labels.csv", "chunk,label\nann-1_0.mp4,engaged\n")
    with pytest.raises(ConfigError, match=r"final_labels\.csv, line 2: label is 'engaged'; expected Not-Engaged, "):
        read("engagenet", engagenet)
    note(engagenet, "test.txt", "bob-1_0.mp4\n")
    with pytest.raises(ConfigError, match=r"test\.txt, line 1: bob-1_0\.mp4 is in valid\.txt too"):
        read("engagenet", engagenet)


HEADER = "ClipID,Boredom,Engagement,Confusion,Frustration \n"


@pytest.fixture
def daisee(tmp_path: Path) -> Path:
    parts = {
        "Train": "1100011002.avi,0,2,0,1\n1100011003.avi,0,2,0,1\n",
        "Validation": "4000221001.avi,3,0,0,0\n",
        "Test": "5000441001.avi,0,3,0,0\n",
    }
    for part, rows in parts.items():
        note(tmp_path, f"Labels/{part}Labels.csv", HEADER + rows)
    return plant(
        tmp_path,
        "DataSet/Train/110001/1100011002/1100011002.avi",
        "DataSet/Train/110001/1100011009/1100011009.avi",
        "DataSet/Validation/400022/4000221001/4000221001.avi",
        "DataSet/Test/500044/5000441001/5000441001.avi",
    )


def test_daisee_headers_have_blanks(daisee: Path) -> None:
    table = read("daisee", daisee)
    assert clips_of(table)["110001/1100011002"].labels == {
        "boredom": 0,
        "engagement": 2,
        "confusion": 0,
        "frustration": 1,
    }
    assert splits_of(table) == {
        "110001/1100011002": "train",
        "400022/4000221001": "val",
        "500044/5000441001": "test",
    }
    assert clips_of(table)["110001/1100011002"].group == "user-110001"


def test_daisee_listed_clips_without_a_file_are_named(daisee: Path) -> None:
    table = read("daisee", daisee)
    assert table.absent == ["Train/1100011003"]
    assert table.unlisted == ["DataSet/Train/110001/1100011009/1100011009.avi"]


def test_daisee_rubbish_names_the_line(daisee: Path) -> None:
    note(daisee, "Labels/TestLabels.csv", f"{HEADER}5000441001.avi,0,4,0,0\n")
    with pytest.raises(ConfigError, match=r"TestLabels\.csv, line 2: Engagement is '4'; expected 0, 1, 2 or 3"):
        read("daisee", daisee)


def test_a_half_unpacked_folder_is_an_error(daisee: Path, tmp_path: Path) -> None:
    (daisee / "Labels/TestLabels.csv").unlink()
    with pytest.raises(ConfigError, match=r"has no Labels/TestLabels\.csv; expected .* Unpack all of it"):
        read("daisee", daisee)
