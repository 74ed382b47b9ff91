"""Lists and tables of videos."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests.making import lay

from marlin_sdk.batch.inputs import VideoInput
from marlin_sdk.batch.tables import read_list, read_table
from marlin_sdk.errors import ConfigError


def table(text: str, name: str = "data/segments.csv") -> list[VideoInput]:
    return read_table(lay(Path(name), text.encode()))


def test_list_skips_blank_lines_and_comments_and_looks_beside_itself_first() -> None:
    lay(Path("data/a.mp4"))
    lay(Path("b.mp4"))
    listed = io.StringIO("# mine\n\n a.mp4 \nb.mp4\nhttp://host/c.mp4\n")
    assert list(read_list(listed, beside=Path("data"))) == ["data/a.mp4", "b.mp4", "http://host/c.mp4"]


def test_list_of_windows_and_list_of_names_that_are_no_text() -> None:
    assert list(read_list(io.StringIO("\ufeffa.mp4\r\n\udcff.mp4\r\n"))) == ["a.mp4", "\udcff.mp4"]


def test_a_video_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(ConfigError, match="it is not text"):
        list(read_list(io.StringIO("\0\0\0 ftypisom\n")))


def test_table_gives_parts_tracks_and_labels() -> None:
    lay(Path("data/s1/talk.mp4"))
    rows = table(
        "path,id,start_s,end_s,track,emotion,split\n"
        "s1/talk.mp4,,,,,joy,train\n"
        "s1/talk.mp4,,1.5,3,,anger,train\n"
        "s1/talk.mp4,clip/7,,2,1,,test\n"
        "s1/talk.mp4,,,,2,,\n"
    )
    source = "data/s1/talk.mp4"
    assert rows == [
        VideoInput("s1/talk", source, labels={"emotion": "joy", "split": "train"}),
        VideoInput("s1/talk@1.50-3.00", source, 1.5, 3.0, labels={"emotion": "anger", "split": "train"}),
        VideoInput("clip/7", source, None, 2.0, 1, {"emotion": "", "split": "test"}),
        VideoInput("s1/talk+track2", source, None, None, 2, {"emotion": "", "split": ""}),
    ]


def test_tabs_and_the_mark_of_excel_are_read() -> None:
    lay(Path("data/a.mp4"))
    assert [row.id for row in table("\ufeffpath\tid\na.mp4\tx\n", "data/t.tsv")] == ["x"]


def test_paths_of_one_name_are_told_apart() -> None:
    for file in ("data/a/x.mp4", "data/b/x.mp4", "data/x.mkv", "data/x.mp4"):
        lay(Path(file))
    assert [row.id for row in table("path\na/x.mp4\nb/x.mp4\nx.mkv\nx.mp4\n")] == ["a/x", "b/x", "x.mkv", "x.mp4"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file\na.mp4\n", "columns .*expected one named 'path'"),
        ("path,id\na.mp4,../x\n", "line 2.*is not a valid id"),
        ("path,start_s\na.mp4,soon\n", "line 2: start_s is 'soon'"),
        ("path,start_s\na.mp4,nan\n", "line 2: start_s is 'nan'"),
        ("path,start_s,end_s\na.mp4,3,2\n", "line 2.*expected 0 <= start < end"),
        ("path,track\na.mp4,-1\n", "line 2: track is '-1'"),
        ("path,track\na.mp4,1.5\n", "line 2: track is '1.5'"),
        ("path,id\na.mp4,x\n,y\n", "line 3: the path is empty"),
        ("", "expected one named 'path'"),
        ("file\n", "expected one named 'path'"),
        ("path,mood,mood\na.mp4,x,y\n", "no duplicates"),
        ("path,start,end\na.mp4,1,2\n", "column 'start'; rename it to 'start_s' if that is meant.*label_start"),
        ("path,start_s,End_Time\na.mp4,1,2\n", "column 'End_Time'; rename it to 'end_s'"),
        ("path,Start_S\na.mp4,1\n", "column 'Start_S'; rename it to 'start_s'"),
        ("path,id,track_id\na.mp4,x,1\n", "column 'track_id'; rename it to 'track'"),
        ("path,id,mood\na.mp4,x,sad\nb.mp4,X,glad\n", "lines 2 and 3 both have the id 'X', and differ"),
        ("path,mood\na.mp4,sad\nc.mp4,sad\na.mp4,glad\n", "lines 2 and 4 both have the id 'a', and differ"),
        ("path,id\na.mp4,x\na.mp4,y\n", "lines 2 and 3 both are the same part of a.mp4, and differ"),
        ("path,mood\na.mp4,x\na.mp4,glad, or so\n", "line 3: more cells than the 2 columns"),
        ('path,mood\n"a.mp4,x\n', "cannot be read: unexpected end of data"),
    ],
)
def test_a_bad_cell_is_named(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        table(text)


def test_row_that_is_there_twice_counts_once() -> None:
    assert len({row.id for row in table("path,id,mood\na.mp4,x,sad\na.mp4,x,sad\n")}) == 1


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_table(lay(tmp_path / "bytes.csv", b"path\n\xff\xfe\n"))
    assert table("path\n") == []


def test_empty_columns_of_a_spreadsheet_do_no_harm() -> None:
    assert [row.id for row in table("path,id,,\na.mp4,x,,\n")] == ["x"]


def test_a_track_may_be_written_as_pandas_does_where_some_are_missing() -> None:
    assert [row.track for row in table("path,id,track\na.mp4,x,1.0\na.mp4,y,\n")] == [1, None]
