"""`marlin-extract` as a person runs it: a process of its own, with no network."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from tests.integration.conftest import Command
from tests.making import noise, write_video
from tests.patience import HANG_S, wait_for

from marlin_sdk import Marlin, VideoFeatures

MODULE = (sys.executable, "-m", "marlin_sdk.cli")
SCRIPT = (str(Path(sys.executable).with_name("marlin-extract")),)


def test_command_and_module_are_the_same(no_network: Mapping[str, str]) -> None:
    shown = []
    for command in (SCRIPT, MODULE):
        done = subprocess.run([*command, "--help"], env=no_network, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        shown.append(done.stdout.split("\n", 1))
    assert shown[0][0] == "Usage: marlin-extract [OPTIONS] [INPUT]..."
    assert shown[1][0].endswith("[OPTIONS] [INPUT]...")
    assert shown[0][1] == shown[1][1]


def test_real_face_from_video_to_file(command: Command, astronaut: Path, tiny: Marlin) -> None:
    done = command(astronaut, "-o", "out", "--format", "safetensors")
    assert (done.returncode, done.stdout) == (0, "")
    result = VideoFeatures.load("out/astronaut.safetensors")
    np.testing.assert_allclose(result.features, tiny.extract(astronaut).features, atol=1e-5)
    assert (result.track_id == 0).all()
    assert "1 of 1 videos done: 4 rows, 0 windows skipped, 0 failed" in done.stderr.splitlines()[-1]


def test_other_runtime_writes_the_same_rows_and_a_dump_of_one_is_not_mixed_with_the_other(
    command: Command, small_video: Path
) -> None:
    done = command(small_video, "-o", "out", "--runtime", "openvino")
    assert (done.returncode, done.stdout) == (0, "")
    assert command(small_video, "-o", "torch").returncode == 0
    fast, plain = (VideoFeatures.load(f"{folder}/{small_video.stem}.npz") for folder in ("out", "torch"))
    assert fast.meta["runtime"]["name"] == "openvino"
    np.testing.assert_allclose(fast.features, plain.features, atol=1e-4)
    refused = command(small_video, "-o", "out")
    assert refused.returncode == 2
    assert "runtime.name: 'openvino' there, 'torch' requested" in refused.stderr


def test_nothing_but_json_is_on_stdout(command: Command, small_video: Path) -> None:
    done = command(small_video, "missing.mp4", "-o", "-")
    assert done.returncode == 1
    assert [len(json.loads(line)["feature"]) for line in done.stdout.splitlines()] == [32, 32]
    assert "missing.mp4" in done.stderr
    assert "Traceback" not in done.stderr


def test_lines_nobody_reads_end_the_command_quietly(
    no_network: Mapping[str, str], tiny_folder: Path, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "long.mp4", noise(2000, 32, 32))
    command = [*MODULE, str(video), "-o", "-", "--model", str(tiny_folder), "--keep-seq", "--sample-rate", "1"]
    with subprocess.Popen(command, env=no_network, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["start_s"] == 0
        process.stdout.close()
        said = process.stderr.read().decode()
    assert process.returncode == 1
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
    assert "0 of 1 videos done" in said


def test_unwritable_stdout_is_one_plain_line(
    no_network: Mapping[str, str], tiny_folder: Path, small_video: Path, tmp_path: Path
) -> None:
    # Room for one block of the output, which is not enough.
    shell = f'ulimit -f 1; exec "$@" > {tmp_path / "lines"}'
    command = [*MODULE, str(small_video), "-o", "-", "--model", str(tiny_folder), "--keep-seq"]
    done = subprocess.run(
        ["sh", "-c", shell, "sh", *command], env=no_network, stderr=subprocess.PIPE, text=True, check=False
    )
    assert done.returncode == 1
    assert "failed: stopped: cannot write to standard output: File too large (FeatureFileError)" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("suffix", ["npy", "safetensors"])
def test_disk_without_room_leaves_nothing_half_written(
    command: Command, no_network: Mapping[str, str], tiny_folder: Path, small_video: Path, suffix: str
) -> None:
    usual = ["--model", str(tiny_folder), "--detector", "lbp"]
    arguments = [*usual, str(small_video), "-o", "out", "--format", suffix, "--keep-seq"]
    limited = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh", *MODULE, *arguments]  # 4 kB: enough for the dump's own files
    done = subprocess.run(limited, env=no_network, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    assert re.search(
        rf"stopped: .*(cannot write|disk is full: )out/small\.{suffix}|cannot write out/small\.{suffix}", said
    )
    assert "0 of 1 videos done" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in Path("out").iterdir()) == [".locks", "manifest.jsonl", "settings.json"]
    again = command(*arguments)
    assert again.returncode == 0, again.stderr
    assert VideoFeatures.load(f"out/small.{suffix}").features.shape == (2, 32, 32)


def test_ctrl_c_leaves_whole_files_only(
    no_network: Mapping[str, str], tiny_folder: Path, astronaut: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for index in range(40):
        shutil.copyfile(astronaut, tmp_path / "in" / f"{index:02d}.mp4")
    # A process started in the background ignores Ctrl-C; this one is to take it as in a terminal.
    program = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from marlin_sdk.cli.extract import main; main()"
    )
    command = [sys.executable, "-c", program, "in", "-o", "out", "--model", str(tiny_folder), "--detector", "lbp"]
    with subprocess.Popen(
        command, env=no_network, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: list(Path("out").glob("[0-9]*.npz")), unless=lambda: process.poll() is not None)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=HANG_S)
    assert process.returncode == 130
    assert "Ctrl-C: finishing the videos in flight" in said
    assert "stopped; finished videos are kept, and a rerun resumes from there" in said
    assert "not done" in said
    assert "Traceback" not in said
    left = list(Path("out").glob("*.npz"))
    assert 1 <= len(left) < 40
    assert all(len(VideoFeatures.load(path)) == 4 for path in left)


def test_bar_is_shown_to_a_person(no_network: Mapping[str, str], tiny_folder: Path, small_video: Path) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    command = [*MODULE, str(small_video), "missing.mp4", "-o", "out", "--model", str(tiny_folder)]
    done = subprocess.run(command, env=no_network, stdout=subprocess.PIPE, stderr=follower, check=False)
    os.close(follower)
    said = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "| 0/2 [" in said
    bar = [part for line in said.splitlines() for part in line.split("\r") if "| 2/2 [" in part][-1]
    assert re.search(r"<00:00, .*video(/s|s)?.*, 2 windows, [\d.]+/s, 1 failed\]", bar)
    assert len(bar) <= 100
    assert "\033[31mfailed: missing.mp4: no such video" in said
    assert "1 of 2 videos done: 2 rows" in said.strip().splitlines()[-1]


def test_no_network_is_one_clear_error(command: Command, small_video: Path) -> None:
    done = command(small_video, "-o", "out", "--model", "marlin_vit_small_ytf", HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("failed: ")]
    for part in ("config.json of Hub repo ControlNet/marlin_vit_small_ytf", "Cache folder: ", "by hand"):
        assert part in line
    assert "Traceback" not in done.stderr
