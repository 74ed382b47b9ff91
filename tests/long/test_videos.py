"""2,000 damaged videos: no crash, no hang, no error of another type, and no tenth of the frames lost without a word."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import cycle, islice
from pathlib import Path

import pytest
from tests.long.mutation import mutate
from tests.making import noise, write_video
from tests.patience import HANG_S

from marlin_sdk import MarlinError
from marlin_sdk.video.reader import open_video

COUNT = int(os.environ.get("MARLIN_FUZZ_VIDEOS", "2000"))
FRAMES = 60

Read = tuple[str, int, int, str, bool]


def read(name: str, path: str, seed: int) -> Read:
    """Read a damaged copy of a video: its name and seed, number of frames, what was said, whether it was refused."""
    copy = Path(path)
    original = copy.read_bytes()
    damaged = copy.with_name(f"{seed}{copy.suffix}")
    damaged.write_bytes(mutate(original, seed))
    try:
        with open_video(damaged) as reader:
            count, last_s = 0, float("-inf")
            for frame in reader:
                assert frame.rgb.shape[2] == 3
                assert frame.time_s >= last_s, "the clock goes back"
                last_s, count = frame.time_s, count + 1
            return name, seed, count, "; ".join(reader.warnings), False
    except MarlinError as error:
        return name, seed, 0, str(error), True
    finally:
        damaged.unlink()


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """One of each container and codec in use."""
    folder = tmp_path_factory.mktemp("videos")
    frames = noise(FRAMES, 96, 128)
    fragmented = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "frag_duration": "400000"}
    made = {
        "mp4": write_video(folder / "a.mp4", frames),
        "fragmented": write_video(folder / "b.mp4", frames, container_options=fragmented),
        "faststart": write_video(folder / "c.mp4", frames, container_options={"movflags": "faststart"}),
        "hevc mkv": write_video(folder / "d.mkv", frames, codec="libx265", options={"x265-params": "log-level=none"}),
        "mkv": write_video(folder / "e.mkv", frames),
        "webm": write_video(folder / "f.webm", frames, codec="libvpx-vp9", options={"cpu-used": "8"}),
        "ts": write_video(folder / "g.ts", frames),
        "avi": write_video(folder / "h.avi", frames, codec="mpeg4"),
        "flv": write_video(folder / "i.flv", frames),
        "mpeg": write_video(folder / "j.mpg", frames, codec="mpeg2video"),
        "mov": write_video(folder / "k.mov", frames, codec="mjpeg", pix_fmt="yuvj420p"),
        "gif": write_video(folder / "l.gif", frames, codec="gif", pix_fmt="rgb8"),
        "raw": write_video(folder / "m.h264", frames),
    }
    return [(name, str(path)) for name, path in made.items()]


def results(videos: list[tuple[str, str]]) -> Iterator[Read]:
    """In other processes, so that a crash is told; each has its turn within the time that only a hang takes."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(read, *video, seed) for seed, video in enumerate(islice(cycle(videos), COUNT))]
        for job in jobs:
            yield job.result(timeout=HANG_S)


def test_damaged_videos(videos: list[tuple[str, str]]) -> None:
    whole = {name: read_whole(path) for name, path in videos}
    assert all(count == FRAMES for count in whole.values()), whole
    silent = [
        (name, seed, count)
        for name, seed, count, said, refused in results(videos)
        if not refused and not said and count < 0.9 * whole[name]
    ]
    assert silent == []


def read_whole(path: str) -> int:
    with open_video(path) as reader:
        return sum(1 for _ in reader)
