"""RAVDESS, CREMA-D and MEAD."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.datasets.trees import clips_of, column, note, plant, splits_of

from marlin_sdk.datasets import read
from marlin_sdk.errors import ConfigError


@pytest.fixture
def ravdess(tmp_path: Path) -> Path:
    names = (
        f"Actor_{actor:02d}/{kind}-01-05-02-01-02-{actor:02d}.mp4" for actor in range(1, 25) for kind in ("01", "02")
    )
    return plant(tmp_path, *names, "Actor_01/03-01-05-02-01-02-01.wav", "Actor_01/notes.mp4")


def test_the_name_says_all(ravdess: Path) -> None:
    clip = clips_of(read("ravdess", ravdess))["Actor_24/01-01-05-02-01-02-24"]
    assert clip.labels == {
        "emotion": "angry",
        "intensity": 2,
        "statement": 1,
        "repetition": 2,
        "song": False,
        "sex": "female",
        "fold": 6,
    }
    assert clip.group == "actor-24"


def test_a_performance_is_there_with_and_without_sound_and_read_once(ravdess: Path) -> None:
    table = read("ravdess", ravdess)
    assert len(table.clips) == 24
    assert [len(names) for names in table.dropped.values()] == [24]
    assert table.unlisted == ["Actor_01/notes.mp4"]
    assert {clip.id[9:11] for clip in read("ravdess", ravdess, modality="video").clips} == {"02"}


def test_folds_are_of_four_consecutive_actors(ravdess: Path) -> None:
    table = read("ravdess", ravdess, fold="2")
    tested = {clip.group for clip in table.clips if clip.split == "test"}
    assert tested == {"actor-05", "actor-06", "actor-07", "actor-08"}
    assert (table.split_by, set(splits_of(table).values())) == ("fold 2 of 6", {"train", "test"})
    assert read("ravdess", ravdess).split_by == "seed 0"
    with pytest.raises(ConfigError, match="fold='7'; expected one of none, 1, "):
        read("ravdess", ravdess, fold="7")


def test_an_actor_in_the_folder_of_another_is_an_error(ravdess: Path) -> None:
    plant(ravdess, "Actor_01/01-01-05-02-01-01-02.mp4")
    with pytest.raises(ConfigError, match="the name says actor 02, its folder another one"):
        read("ravdess", ravdess)


@pytest.mark.parametrize("name", ["ravdess", "mead"])
def test_a_folder_without_such_names_is_an_error(tmp_path: Path, name: str) -> None:
    plant(tmp_path, "talk.mp4")
    with pytest.raises(ConfigError, match=r"has no video with .*; expected"):
        read(name, tmp_path)


DEMOGRAPHICS = (
    "ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n1002,21,Female,Asian,Not Hispanic\n"
)


@pytest.fixture
def crema_d(tmp_path: Path) -> Path:
    note(tmp_path, "VideoDemographics.csv", DEMOGRAPHICS)
    names = ("1001_DFA_ANG_XX", "1002_IEO_HAP_HI", "1003_IEO_SAD_LO", "1003_IEO_SAD")
    return plant(tmp_path, *(f"VideoFlash/{name}.flv" for name in names))


def test_crema_d_has_the_actors_demographics(crema_d: Path) -> None:
    table = read("crema-d", crema_d)
    clips = clips_of(table)
    assert clips["1001_DFA_ANG_XX"].labels == {
        "emotion": "angry",
        "level": "unspecified",
        "sentence": "DFA",
        "fold": 1,
        "age": 51,
        "sex": "Male",
        "race": "Caucasian",
        "ethnicity": "Not Hispanic",
    }
    assert clips["1003_IEO_SAD_LO"].group == "actor-1003"
    assert "VideoDemographics.csv has no line of the actors 1003." in table.notes
    assert table.unlisted == ["VideoFlash/1003_IEO_SAD.flv"]


def test_crema_d_is_read_without_demographics_and_says_so(crema_d: Path) -> None:
    (crema_d / "VideoDemographics.csv").unlink()
    table = read("crema-d", crema_d)
    assert table.labels == ("emotion", "level", "sentence", "fold")
    assert any("There is no VideoDemographics.csv" in one for one in table.notes)


def test_crema_d_has_the_folds_of_mae_dfer(crema_d: Path) -> None:
    """Their lists begin and end with these actors."""
    ends = {1001: 1, 1018: 1, 1019: 2, 1036: 2, 1037: 3, 1054: 3, 1055: 4, 1072: 4, 1073: 5, 1091: 5}
    plant(crema_d, *(f"VideoFlash/{actor}_TAI_NEU_XX.flv" for actor in ends))
    table = read("crema-d", crema_d, fold="5")
    folds = column(table, "fold")
    assert {actor: folds[f"{actor}_TAI_NEU_XX"] for actor in ends} == ends
    assert table.split_by == "fold 5 of 5"
    assert {id for id, split in splits_of(table).items() if split == "test"} == {"1073_TAI_NEU_XX", "1091_TAI_NEU_XX"}


def test_crema_d_rubbish_names_the_line(crema_d: Path) -> None:
    note(crema_d, "VideoDemographics.csv", DEMOGRAPHICS.replace("21", "old"))
    with pytest.raises(ConfigError, match=r"VideoDemographics\.csv, line 3: Age is 'old'; expected years"):
        read("crema-d", crema_d)


def test_mead_is_read_as_its_tree_from_one_side(tmp_path: Path) -> None:
    tree = "video/front/angry/level_1/001.mp4"
    plant(tmp_path, f"M003/{tree}", f"M003/{tree.replace('front', 'left_30')}", f"W009/{tree}", f"W011/{tree}")
    table = read("mead", tmp_path)
    assert column(table, "sex") == {
        "M003/front/angry/level_1/001": "male",
        "W009/front/angry/level_1/001": "female",
        "W011/front/angry/level_1/001": "female",
    }
    assert table.dropped == {"the view is not front": [f"M003/{tree.replace('front', 'left_30')}"]}
    assert len(read("mead", tmp_path, view="all").clips) == 4


def test_mead_is_read_from_flat_names_of_both_kinds(tmp_path: Path) -> None:
    plant(tmp_path, "M030_sad_3_001.mp4", "W023_level_2_surprised_010.mp4", "W036_level_3_happy_007.mp4", "x.mp4")
    table = read("mead", tmp_path)
    assert column(table, "emotion") == {
        "M030_sad_3_001": "sad",
        "W023_level_2_surprised_010": "surprised",
        "W036_level_3_happy_007": "happy",
    }
    assert column(table, "level")["W023_level_2_surprised_010"] == 2
    assert clips_of(table)["M030_sad_3_001"].group == "M030"
    assert table.unlisted == ["x.mp4"]


@pytest.mark.shared
def test_mead_real_clips(shared: Path) -> None:
    table = read("mead", shared / "media" / "mead")
    assert (len(table.clips), len({clip.group for clip in table.clips})) == (7, 6)
    assert table.unlisted == []
