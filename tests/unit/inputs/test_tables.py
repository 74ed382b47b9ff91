"""Lists and tables of videos."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests.making import lay

from marlin_sdk.errors import ConfigError
from marlin_sdk.inputs.tables import read_list, read_table, videos_of_rows
from marlin_sdk.inputs.videos import VideoInput


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
        VideoInput("clip/7", source, None, 2.0, 1, {"emotion": None, "split": "test"}),
        VideoInput("s1/talk+track2", source, None, None, 2, {"emotion": None, "split": None}),
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
        ("mood\nsad\n", "columns .*expected one named 'path'"),
        ("file\na.mp4\n", "column 'file'; if 'path' is meant, rename it or add --column file=path"),
        ("id,Video Path\nx,a.mp4\n", "column 'Video Path'; if 'path' is meant"),
        ("path,clip_id\na.mp4,7\n", "column 'clip_id'; if 'id' is meant"),
        ("path,id\na.mp4,../x\n", "line 2.*is not a valid id"),
        ("path,start_s\na.mp4,soon\n", "line 2: start_s is 'soon'"),
        ("path,start_s\na.mp4,nan\n", "line 2: start_s is 'nan'"),
        ("path,start_s,end_s\na.mp4,3,2\n", "line 2.*expected 0 <= start < end"),
        ("path,track\na.mp4,-1\n", "line 2: track is '-1'"),
        ("path,track\na.mp4,1.5\n", "line 2: track is '1.5'"),
        ("path,id\na.mp4,x\n,y\n", "line 3: the path is empty"),
        ("", "expected one named 'path'"),
        ("path,mood,mood\na.mp4,x,y\n", "no duplicates"),
        ("path,start,end\na.mp4,1,2\n", "column 'start'; if 'start_s' is meant, .*--column start=start_s.*label_start"),
        ("path,start_s,End_Time\na.mp4,1,2\n", "column 'End_Time'; if 'end_s' is meant"),
        ("path,Start_S\na.mp4,1\n", "column 'Start_S'; if 'start_s' is meant"),
        ("path,start_s,start\na.mp4,1,1\n", "column 'start'; if 'start_s' is meant"),
        ("path,id,ID\na.mp4,x,y\n", "column 'ID'; if 'id' is meant"),
        ("path,id,track_id\na.mp4,x,1\n", "column 'track_id'; if 'track' is meant"),
        ("path,id,mood\na.mp4,x,sad\nb.mp4,X,glad\n", "lines 2 and 3 both have the id 'X': a.mp4 and b.mp4; give"),
        ("path,id,end_s\na.mp4,x,\na.mp4,x,2\n", r"lines 2 and 3 both have the id 'x': a.mp4 and a.mp4@0.00-2.00;"),
        (
            "path,mood\na.mp4,sad\nc.mp4,sad\na.mp4,glad\n",
            "lines 2 and 4 both are .* a.mp4, and differ in mood;.*raters",
        ),
        ("path,valence\na.mp4,1.5\nb.mp4,NaN\n", "label 'valence', line 3: 'NaN' among numbers; leave the cell empty"),
        ("path,valence\na.mp4,-inf\n", "label 'valence', line 2: '-inf' among numbers"),
        ("path,id\na.mp4,x\na.mp4,y\n", "lines 2 and 3 both are .* a.mp4, with the ids 'x' and 'y'"),
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


def test_known_columns_are_found_under_other_names() -> None:
    file = lay(Path("data/t.csv"), b"clip,begin,until,start=x,mood\na.mp4,1,2,3,sad\n")
    names = {"clip": "path", "begin": "start_s", "until": "end_s", "start=x": "track"}
    (row,) = read_table(file, columns=names)
    assert (row.source, row.start_s, row.end_s, row.track, row.labels) == ("a.mp4", 1.0, 2.0, 3, {"mood": "sad"})


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            {"begun": "start_s"},
            r"--column begun=start_s: table .* has no column 'begun', but \['path', 'begin', 'first'",
        ),
        ({"begin": "start"}, "--column begin=start: 'start' is not one of path, id, start_s, end_s, track"),
        ({"begin": "start_s", "first": "start_s"}, "--column begin=start_s: .* has 'first' for 'start_s' already"),
        ({"begin": "path"}, "--column begin=path: .* has 'path' for 'path' already"),
    ],
)
def test_a_column_that_cannot_be_mapped_is_refused(columns: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_table(lay(Path("t.csv"), b"path,begin,first\na.mp4,1,2\n"), columns=columns)


def test_beside_the_path_a_column_may_say_which_video_or_source_it_was() -> None:
    (row,) = table("path,video,source\na.mp4,film,lab\n")
    assert row.labels == {"video": "film", "source": "lab"}


def test_labels_have_the_type_of_their_column() -> None:
    text = (
        "path,age,arousal,fake,who,person,mood,note\n"
        "a.mp4,31,1,TRUE,007,9007199254740993,1,\n"
        "b.mp4,,-2.5e-1,false,012,3, sad ,\n"
        "c.mp4,-4,,,1,4,2.5, \n"
    )
    assert [row.labels for row in table(text)] == [
        {
            "age": 31,
            "arousal": 1.0,
            "fake": True,
            "who": "007",
            "person": "9007199254740993",
            "mood": "1",
            "note": None,
        },
        {"age": None, "arousal": -0.25, "fake": False, "who": "012", "person": "3", "mood": " sad ", "note": None},
        {"age": -4, "arousal": None, "fake": None, "who": "1", "person": "4", "mood": "2.5", "note": None},
    ]
    (row, *_) = table(text)
    assert [type(value) for value in row.labels.values()] == [int, float, bool, str, str, str, type(None)]


def test_rows_of_another_source_are_checked_and_typed_like_those_of_a_file() -> None:
    rows = videos_of_rows([{"path": "a.mp4", "age": "3"}, {"path": "b.mp4", "age": "", "mood": "1.5"}], "the dataset")
    assert [row.labels for row in rows] == [{"age": 3, "mood": None}, {"age": None, "mood": 1.5}]
    with pytest.raises(ConfigError, match="the dataset has a column 'video'; if 'path' is meant"):
        videos_of_rows([{"video": "a.mp4"}], "the dataset")
    assert videos_of_rows([], "the dataset") == []
