"""What is named on the command line -> videos with names of their own."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.making import lay

from marlin_sdk.batch.inputs import find_videos
from marlin_sdk.errors import ConfigError


def names(*inputs: str) -> list[str]:
    return [str(video.name) for video in find_videos(inputs)]


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
    assert [(video.source, str(video.name)) for video in find_videos(["no/such.mp4"])] == [("no/such.mp4", "such")]
    assert names("x" * 5000) == ["x" * 5000]


def test_file_named_twice_counts_once() -> None:
    lay(Path("in/talk.mp4"))
    Path("link.mp4").symlink_to("in/talk.mp4")
    assert names("in/talk.mp4", "./in/talk.mp4", "in", str(Path("in").resolve()), "link.mp4") == ["talk"]


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
    assert (video.source, str(video.name)) == (url, name)


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


PART = st.sampled_from(["..", ".", "a", "A", "b", "talk.mp4", "talk.mkv", "talk", "talk.mp4.avi", "", "~", "%2e%2e"])
PATHS = st.lists(PART, min_size=1, max_size=5).map("/".join)
INPUTS = st.tuples(st.sampled_from(["", "/", "http://", "file://", "http://u@h/"]), PATHS).map("".join)


@settings(max_examples=300, deadline=None)
@given(st.lists(INPUTS.filter(str.strip), max_size=6, unique=True))
def test_names_differ_and_never_lead_out(inputs: list[str]) -> None:
    outside = [text for text in inputs if not os.path.isdir(text)]  # noqa: PTH112 - no folder of this machine is walked
    found = find_videos(outside)
    assert len({str(video.name).casefold() for video in found}) == len(found)
    for video in found:
        assert not video.name.is_absolute()
        assert ".." not in video.name.parts
        assert video.name.name not in ("", ".")
        assert PurePosixPath("out", f"{video.name}.npz").is_relative_to("out")
