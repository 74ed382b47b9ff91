"""GRID."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.datasets.trees import clips_of, column, note, plant

from marlin_sdk.datasets import read
from marlin_sdk.datasets.speech.grid import sentence
from marlin_sdk.errors import ConfigError

WORDS = "id,word,start_s,end_s\nbbaf5a,sil,0.0,0.7\nbbaf5a,bin,0.7,0.92\nbbaf5a,sp,0.92,1.0\nbbaf5a,blue,1.0,1.22\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    note(tmp_path, "words.csv", WORDS)
    return plant(tmp_path, "s1/bbaf5a.mp4", "s1/swiz3n.mp4", "s2/video/lbax4n.mpg", "s3/pwij3p.mp4", "s3/hello.mp4")


def test_the_name_spells_the_sentence(root: Path) -> None:
    table = read("grid", root)
    assert clips_of(table)["s1/swiz3n"].labels == {
        "verb": "set",
        "colour": "white",
        "preposition": "in",
        "letter": "z",
        "digit": "three",
        "adverb": "now",
    }
    assert {clip.id: clip.group for clip in table.clips} == {
        "s1/bbaf5a": "s1",
        "s1/swiz3n": "s1",
        "s2/lbax4n": "s2",
        "s3/pwij3p": "s3",
    }
    assert table.unlisted == ["s3/hello.mp4"]


@given(st.text(alphabet="abgilnprswxz0159", max_size=7))
def test_a_sentence_has_six_words_or_is_none(name: str) -> None:
    words = sentence(name)
    assert words is None or (len(name) == len(words) == 6 and all(words.values()))


def test_words_are_rows_with_their_times_and_silences_are_left_out(root: Path) -> None:
    table = read("grid", root, task="words", group="sentence")
    clips = clips_of(table)
    assert list(clips) == ["s1/bbaf5a/1-bin", "s1/bbaf5a/2-blue"]
    assert (clips["s1/bbaf5a/2-blue"].start_s, clips["s1/bbaf5a/2-blue"].end_s) == (1.0, 1.22)
    assert column(table, "word") == {"s1/bbaf5a/1-bin": "bin", "s1/bbaf5a/2-blue": "blue"}
    assert {clip.group for clip in table.clips} == {"s1/bbaf5a"}
    assert "2 silences (sil, sp) of words.csv are left out." in table.notes
    assert table.unlisted == ["s3/hello.mp4", "s1/swiz3n", "s2/lbax4n", "s3/pwij3p"]


def test_a_sentence_of_several_speakers_needs_the_speaker(root: Path) -> None:
    plant(root, "s3/bbaf5a.mp4")
    with pytest.raises(
        ConfigError, match=r"words\.csv, line 2: bbaf5a is a sentence of 2 speakers; expected 's1/bbaf5a'"
    ):
        read("grid", root, task="words")
    note(root, "words.csv", WORDS.replace("bbaf5a", "s3/bbaf5a"))
    assert {clip.group for clip in read("grid", root, task="words").clips} == {"s3"}


def test_words_of_an_absent_video_are_named_once(root: Path) -> None:
    note(root, "words.csv", f"{WORDS}sbia1a,set,0,1\nsbia1a,blue,1,2\n")
    assert read("grid", root, task="words").absent == ["sbia1a"]


@pytest.mark.parametrize("times", ["1,0.5", "-1,2", "x,2", "nan,2"])
def test_rubbish_names_the_line(root: Path, times: str) -> None:
    note(root, "words.csv", f"{WORDS}bbaf5a,at,{times}\n")
    with pytest.raises(ConfigError, match=r"words\.csv, line 6: "):
        read("grid", root, task="words")


def test_few_speakers_say_how_to_split_within_them(tmp_path: Path) -> None:
    plant(tmp_path, *(f"s1/bbaf{digit}a.mp4" for digit in range(1, 10)))
    table = read("grid", tmp_path)
    assert table.split_by == "nobody"
    assert any("group=sentence splits within" in one for one in table.notes)
    assert read("grid", tmp_path, group="sentence").split_by == "seed 0"


def test_another_folder_is_an_error(tmp_path: Path) -> None:
    plant(tmp_path, "bbaf5a.mp4")
    with pytest.raises(ConfigError, match="has no video of a sentence in a speaker's folder"):
        read("grid", tmp_path)


@pytest.mark.shared
def test_the_real_words(shared: Path) -> None:
    table = read("grid", shared / "media" / "grid", task="words", group="sentence")
    spelt = {f"s1/{name}": sentence(name) for name in {clip.id.split("/")[1] for clip in table.clips}}
    said: dict[str, list[object]] = {}
    for clip in table.clips:
        said.setdefault(clip.group, []).append(clip.labels["word"])
    assert len(said) == 300
    assert all([*(spelt[id] or {}).values()] == words for id, words in said.items())
