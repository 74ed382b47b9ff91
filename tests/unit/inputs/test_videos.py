"""What is named on the command line -> videos with names of their own."""

from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.making import lay

from marlin_sdk.errors import ConfigError
from marlin_sdk.inputs.tables import read_list
from marlin_sdk.inputs.videos import VideoInput, check_id, deduplicate, find_videos, select


def names(*inputs: str) -> list[str]:
    return [video.id for video in find_videos(inputs)]


def test_file_is_named_by_its_stem() -> None:
    lay(Path("a/talk.v2.mp4"))
    assert names("a/talk.v2.mp4") == ["talk.v2"]
    assert [video.source for video in find_videos(["a/talk.v2.mp4"])] == ["a/talk.v2.mp4"]


def test_folder_is_mirrored_in_order() -> None:
    for file in ("in/b.mp4", "in/x/y/1.MOV", "in/x/1.webm", "in/notes.txt", "in/.cache/c.mp4", "in/._b.mp4"):
        lay(Path(file))
    assert names("in") == ["b", "x/1", "x/y/1"]
    assert names("in/") == names("in")
    assert [video.source for video in find_videos(["in"])] == ["in/b.mp4", "in/x/1.webm", "in/x/y/1.MOV"]


def test_folder_without_videos_stands_for_its_frames() -> None:
    lay(Path("run.1/0001.png"))
    lay(Path("run.2/0001.png"))
    assert names("run.1") == ["run.1"]
    assert names("run.1", "run.2") == ["run.1", "run.2"]
    os.chdir("run.1")
    assert names(".") == ["run.1"]
    assert names("../run.2/..") == [Path("..").resolve().name]


def test_what_is_not_there_is_kept_to_fail_by_name() -> None:
    assert [(video.source, video.id) for video in find_videos(["no/such.mp4"])] == [("no/such.mp4", "such")]
    assert names("x" * 5000) == ["x" * 5000]


def test_file_named_twice_counts_once_but_a_link_is_a_sample_of_its_own() -> None:
    lay(Path("in/talk.mp4"))
    Path("elsewhere").symlink_to("in")
    Path("link.mp4").symlink_to("in/talk.mp4")
    assert names("in/talk.mp4", "./in/talk.mp4", "in", str(Path("in").resolve()), "elsewhere") == ["talk"]
    assert names("in", "link.mp4") == ["talk", "link"]


def test_a_linked_folder_is_entered_once() -> None:
    lay(Path("in/a/talk.mp4"))
    Path("in/a/again").symlink_to("..")
    assert names("in") == ["a/talk"]


def test_pattern_is_expanded_below_its_fixed_part() -> None:
    for file in ("in/a/1.mp4", "in/b/1.mp4", "in/b/2.mkv", "in/c/x.txt"):
        lay(Path(file))
    assert names("in/*/*.mp4") == ["a/1", "b/1"]
    assert names("in/**/*.m*") == ["a/1", "b/1", "b/2"]
    lay(Path("odd[1].mp4"))
    assert names("odd[1].mp4") == ["odd[1]"]
    with pytest.raises(ConfigError, match="matches no file"):
        find_videos(["in/*.avi"])


def test_ids_of_an_earlier_run_are_kept_and_not_given_again() -> None:
    lay(Path("in/talk.mp4"))
    first = find_videos(["in"])
    lay(Path("in/talk.mkv"))
    known = {video.source: video.id for video in first}
    again = {video.source: video.id for video in find_videos(["in"], known=known)}
    assert again == {"in/talk.mp4": "talk", "in/talk.mkv": "talk.mkv"}


def test_list_mirrors_the_paths_below_it() -> None:
    for file in ("data/a/1.mp4", "data/b/1.mp4"):
        lay(Path(file))
    inputs = ["data/a/1.mp4", str(Path("data/b/1.mp4").resolve())]
    assert [video.id for video in find_videos(inputs, base=Path("data"))] == ["a/1", "b/1"]


def test_pieces_are_folded_and_ids_must_differ() -> None:
    lay(Path("a.mp4"))
    whole, same, part = VideoInput("a", "a.mp4"), VideoInput("b", "./a.mp4"), VideoInput("p", "a.mp4", 1.0, 2.0)
    assert deduplicate([whole, same, part]) == [whole, part]
    with pytest.raises(ConfigError, match="is used for both"):
        deduplicate([whole, VideoInput("A", "other.mp4")])


@pytest.mark.parametrize("id", ["", "/a", "../a", "a/../b", "a//b", "a\\b", "a\nb", "x" * 300, "."])
def test_what_cannot_be_an_id(id: str) -> None:
    with pytest.raises(ConfigError, match="id"):
        check_id(id)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["talk.mp4", "talk.mkv", "other.mp4"], ["talk.mp4", "talk.mkv", "other"]),
        (["a/talk.mp4", "b/talk.mp4"], ["a/talk", "b/talk"]),
        (["a/talk.mp4", "b/talk.mkv"], ["talk.mp4", "talk.mkv"]),
        (["a/x/talk.mp4", "a/y/talk.mp4", "a/y/talk.mkv"], ["x/talk", "y/talk", "talk.mkv"]),
        (["Talk.mp4", "talk.mp4"], ["Talk.mp4", "talk.mp4-2"]),
        (["talk.mp4", "talk.mkv", "talk.mp4.avi"], ["talk", "talk.mkv", "talk.mp4.avi"]),
    ],
)
def test_names_that_clash_are_told_apart(files: list[str], expected: list[str]) -> None:
    for file in files:
        lay(Path("in", file))
    assert names(*(f"in/{file}" for file in files)) == expected


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/videos/talk.mp4?token=a/b#t=1", "talk"),
        ("https://user:secret@host/live", "live"),
        ("rtsp://camera:554/", "camera_554"),
        ("http://host/../../etc/passwd.mp4", "passwd"),
        ("http://host/a%2f..%2fb.mp4", "a_2f.._2fb"),
        ("http://host/..", "host"),
        ("http://[::1", "_1"),
        ("http://", "video"),
        ("://", "video"),
    ],
)
def test_url_gives_a_plain_name(url: str, name: str) -> None:
    (video,) = find_videos([url])
    assert (video.source, video.id) == (url, name)


def test_urls_that_clash_stay_in_the_output_folder() -> None:
    urls = ["http://a/../../../x.mp4", "http://b/x.mp4", "http://u:secret@b/x.mp4", "http://b/x.mp4?v=2"]
    got = names(*urls)
    assert len(set(got)) == 4
    assert not any(".." in name or "secret" in name or name.startswith("/") for name in got)


def test_url_and_file_of_the_same_path_get_two_names() -> None:
    file = lay(Path("host/x.mp4")).resolve()
    assert len(set(names(str(file), f"http:/{file}"))) == 2


@pytest.mark.parametrize("empty", ["", "  "])
def test_empty_input_is_not_the_working_folder(empty: str) -> None:
    lay(Path("private.mp4"))
    with pytest.raises(ConfigError, match="INPUT is empty"):
        find_videos([empty])


@pytest.mark.parametrize(
    ("file", "id"),
    [("new\nline.mp4", "new%0Aline"), ("a\\b.mp4", "a%5Cb"), ("\x1b[31mred.mp4", "%1B[31mred"), ("...mp4", "%2E%2E")],
)
def test_a_file_may_have_a_name_that_no_id_can_have(file: str, id: str) -> None:
    lay(Path("in") / file)
    assert names(str(Path("in") / file)) == [id]
    assert check_id(id) == id


def test_tamed_names_that_clash_are_told_apart() -> None:
    lay(Path("in/a\nb.mp4"))
    lay(Path("in/a%0Ab.mp4"))
    got = names("in")
    assert len(set(got)) == 2
    assert [check_id(name) for name in got] == got


PART = st.sampled_from(["..", ".", "a", "A", "b", "talk.mp4", "talk.mkv", "talk", "talk.mp4.avi", "", "~", "%2e%2e"])
PATHS = st.lists(PART, min_size=1, max_size=5).map("/".join)
INPUTS = st.tuples(st.sampled_from(["", "/", "http://", "file://", "http://u@h/"]), PATHS).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(INPUTS.filter(str.strip), max_size=6, unique=True))
def test_names_differ_and_never_lead_out(inputs: list[str]) -> None:
    outside = [text for text in inputs if not os.path.isdir(text)]  # noqa: PTH112 - no folder of this machine is walked
    found = find_videos(outside)
    assert len({video.id.casefold() for video in found}) == len(found)
    for video in found:
        name = PurePosixPath(video.id)
        assert not name.is_absolute()
        assert ".." not in name.parts
        assert name.name not in ("", ".")


def test_a_million_lines_would_fit_into_little_memory(tmp_path: Path) -> None:
    """Of 20,000: what one takes, its own line included, at most while they are read and once they are."""
    lines = "".join(f"videos/{index // 1000:04d}/{index:07d}.mp4\n" for index in range(20_000))
    listed = io.StringIO(lines)
    list(find_videos(["a.mp4"], base=Path()))
    tracemalloc.start()
    try:
        found = find_videos(read_list(listed), base=Path())
        todo = select(found, lambda video: not video.id.endswith("7"))
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found) == 20_000
    assert len(todo) == 18_000
    assert (todo[-1].id, todo[-1].source) == ("videos/0019/0019999", "videos/0019/0019999.mp4")
    assert [video.id[-1] for video in todo[5:9]] == ["5", "6", "8", "9"]
    assert most / 20_000 < 350
    assert held / 20_000 < 100
