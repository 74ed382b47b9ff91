"""The table and its CSV file, as marlin-extract reads it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.datasets.trees import plant, read_back

from marlin_sdk.datasets import Clip, Table
from marlin_sdk.datasets.table import Label
from marlin_sdk.errors import ConfigError
from marlin_sdk.inputs.videos import check_id


def table_of(*clips: Clip) -> Table:
    return Table("mine", clips, "seed 0")


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_cells_are_typed_and_what_is_unknown_is_empty(tmp_path: Path) -> None:
    labels: dict[str, Label] = {"on": True, "off": False, "n": 3, "x": 0.1, "whole": 2.0, "word": "a, b", "no": None}
    table_of(Clip(tmp_path / "a.mp4", "a", 0.5, None, labels, "train", "g")).write(tmp_path / "clips.csv")
    assert rows_of(tmp_path / "clips.csv") == [
        {
            "path": "a.mp4",
            "id": "a",
            "start_s": "0.5",
            "end_s": "",
            "on": "true",
            "off": "false",
            "n": "3",
            "x": "0.1",
            "whole": "2.0",
            "word": "a, b",
            "no": "",
            "split": "train",
            "group": "g",
            "source": "mine",
        }
    ]


def test_a_label_that_only_some_clips_have_is_empty_for_the_others(tmp_path: Path) -> None:
    table = table_of(Clip(tmp_path / "a", "a", labels={"x": 1}), Clip(tmp_path / "b", "b", labels={"y": 2}))
    table.write(tmp_path / "clips.csv")
    assert [(row["x"], row["y"]) for row in rows_of(tmp_path / "clips.csv")] == [("1", ""), ("", "2")]


def test_paths_are_those_that_marlin_extract_finds_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "data/inside/-a.mp4", "elsewhere/b.mp4", "cwd/")
    table = table_of(Clip(tmp_path / "data/inside/-a.mp4", "-a"), Clip(tmp_path / "elsewhere/b.mp4", "b"))
    monkeypatch.chdir(tmp_path / "cwd")
    videos = read_back(table, tmp_path / "data" / "clips.csv")
    assert [row["path"] for row in rows_of(tmp_path / "data" / "clips.csv")] == [
        "inside/-a.mp4",
        str(tmp_path / "elsewhere/b.mp4"),
    ]
    assert all(Path(video.source).is_file() for video in videos)
    assert [video.id for video in videos] == ["-a", "b"]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, value: float) -> None:
    file = tmp_path_factory.getbasetemp() / "floats.csv"
    table_of(Clip(Path("a.mp4"), "a", labels={"x": value})).write(file)
    assert float(rows_of(file)[0]["x"]) == value


@given(st.text(max_size=8).map(lambda text: f"a/{text}"))
def test_the_ids_that_a_table_takes_are_those_that_a_dump_takes(id: str) -> None:
    def passes(check: object) -> bool:
        try:
            check() if callable(check) else None
        except ConfigError:
            return False
        return True

    assert passes(lambda: table_of(Clip(Path("a.mp4"), id))) == passes(lambda: check_id(id))


@pytest.mark.parametrize("id", ["", "/etc/a", "../a", "a/../b", "a//b", "a\\b", "a\nb", "a" * 201])
def test_an_id_that_cannot_name_files_is_refused(id: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.mp4.*cannot be an id"):
        table_of(Clip(Path("a.mp4"), id))


def test_ids_are_unique_ignoring_case() -> None:
    with pytest.raises(ConfigError, match=r"'A' is that of both one\.mp4 and two\.mp4"):
        table_of(Clip(Path("one.mp4"), "a"), Clip(Path("two.mp4"), "A"))


@pytest.mark.parametrize("name", ["path", "split", "track", "start", "video"])
def test_a_label_cannot_have_the_name_of_another_column(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"labels named \['{name}'\]"):
        table_of(Clip(Path("a.mp4"), "a", labels={name: 1}))


def test_an_empty_table_says_what_was_left_out() -> None:
    with pytest.raises(ConfigError, match=r"no clip is left .* 2 listed clips \(a, b\) are absent"):
        Table("mine", (), "official", absent=["a", "b"])


def test_what_is_left_out_is_counted_and_the_first_named() -> None:
    table = Table(
        "mine",
        (Clip(Path("a.mp4"), "a"),),
        "official",
        absent=["x"],
        unlisted=list("pqrst"),
        dropped={"too dark": ["d"]},
    )
    assert list(table.left_out()) == [
        "1 listed clip (x) is absent: no such file in this folder.",
        "5 videos (p, q, r, ...) are left out: no list, folder or name gives a label.",
        "1 clip (d) is left out: too dark.",
    ]


def test_a_failure_leaves_the_earlier_file(tmp_path: Path) -> None:
    file = tmp_path / "clips.csv"
    file.write_text("earlier")
    with pytest.raises(ConfigError, match="not valid text"):
        table_of(Clip(Path("a\udcff.mp4"), "a")).write(file)
    assert file.read_text() == "earlier"
    assert list(tmp_path.glob("*.part*")) == []


def test_a_table_describes_itself_in_a_line() -> None:
    table = table_of(Clip(Path("a.mp4"), "a", labels={"x": 1}), Clip(Path("b.mp4"), "b"))
    assert repr(table) == "<Table mine: 2 clips, 1 labels, split by seed 0>"
