"""What is found below a folder, what is said of the rest, and folders that cannot be read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.making import lay, noise, write_video

from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.inputs.videos import find_videos
from marlin_sdk.video.folders import videos_below
from marlin_sdk.video.reader import open_video


@contextmanager
def as_somebody_else() -> Iterator[None]:
    """Without root's right to read everything."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


def test_files_that_are_no_videos_are_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a.mp4", "deep/b.MKV", "deep/notes.txt", "x.txt", "labels.csv", "README", ".hidden.txt"):
        lay(Path("v") / name)
    assert list(videos_below("v")) == ["v/a.mp4", "v/deep/b.MKV"]
    assert caplog.messages == [
        "v: 4 files are left out, which are no videos by their suffix: 2 .txt (x.txt, ...), 1 without suffix (README), "
        "1 .csv (labels.csv); name a file to have it read"
    ]


def test_many_suffixes_are_counted_together(caplog: pytest.LogCaptureFixture) -> None:
    lay(Path("v/a.mp4"))
    for index in range(9):
        lay(Path(f"v/x.{index}"))
    list(videos_below("v"))
    assert "9 files are left out" in caplog.text
    assert "4 others" in caplog.text


def test_nothing_is_said_of_a_folder_of_videos_or_of_frames(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    lay(Path("v/a.mp4"))
    lay(Path("frames/0001.png"))
    assert list(videos_below("v")) == ["v/a.mp4"]
    assert list(videos_below("frames")) == []
    assert not caplog.messages


@pytest.mark.parametrize("suffix", ["mxf", "y4m", "nut", "f4v", "m2v", "3g2", "asf", "h264"])
def test_rarer_suffixes_are_found_and_read(suffix: str) -> None:
    codec = {"mxf": "mpeg2video", "m2v": "mpeg2video", "y4m": "wrapped_avframe", "3g2": "mpeg4", "asf": "mpeg4"}
    path = Path("v") / f"talk.{suffix}"
    path.parent.mkdir()
    write_video(path, noise(20, 96, 128), codec=codec.get(suffix, "libx264"))
    assert [video.source for video in find_videos(["v"])] == [str(path)]
    with open_video(path) as reader:
        assert sum(1 for _ in reader) == 20


def test_folder_that_cannot_be_read_is_a_video_that_fails(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    lay(tmp_path / "v" / "a.mp4")
    lay(tmp_path / "v" / "locked" / "b.mp4").parent.chmod(0o000)
    lay(tmp_path / "v" / "open" / "c.mp4")
    with as_somebody_else():
        found = find_videos([str(tmp_path / "v")])
        assert [video.id for video in found] == ["a", "locked", "open/c"]
        with pytest.raises(VideoDecodeError, match=r"folder .*locked cannot be read: Permission denied"):
            open_video(found[1].source)
    (tmp_path / "v" / "locked").chmod(0o755)
