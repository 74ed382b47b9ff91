"""Commands that are started without a standard stream, or with no room for a converted model."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.making import lay, noise, write_video

from marlin_sdk import VideoFeatures

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write beyond the limit fails, as on a full disk
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
from marlin_sdk.cli.extract import main
main()
"""


def run(command: str, tiny_folder: Path, *redirections: str) -> subprocess.CompletedProcess[bytes]:
    """`marlin-extract` in a shell, which can close what a Python parent cannot."""
    settings = f"--model {tiny_folder} --crop-face no --workers 1"
    program = f'"{sys.executable}" -m marlin_sdk.cli {command} {settings} {" ".join(redirections)}'
    return subprocess.run(["sh", "-c", program], capture_output=True, check=False)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "talk.mp4", noise(40, 32, 32))


@pytest.mark.parametrize("closed", ["2>&-", "2>&- >&-", "2>&- >&- <&-"])
def test_closed_streams_cost_no_work(video: Path, tiny_folder: Path, closed: str) -> None:
    lay(Path("broken.mp4"))
    done = run("talk.mp4 broken.mp4 -o out", tiny_folder, closed)
    assert done.returncode == 1  # the broken one; its message finds no ear
    assert len(VideoFeatures.load("out/talk.npz")) == 2
    assert video.stat().st_size > 0
    assert run("talk.mp4 -o out", tiny_folder, closed).returncode == 0


def test_rows_for_a_closed_output_are_refused(video: Path, tiny_folder: Path) -> None:
    done = run("talk.mp4 -o -", tiny_folder, ">&-")
    assert done.returncode == 2
    assert b"standard output is closed, and -o - prints to it; use -o DIR" in done.stderr
    rows = run("talk.mp4 -o -", tiny_folder, "2>&-")
    assert (rows.returncode, rows.stdout.count(b'"start_s"')) == (0, 2)


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_no_room_for_a_converted_model_is_said(video: Path, tiny_folder: Path, runtime: str) -> None:
    command = [sys.executable, "-c", LIMITED, str(video), "-o", "out", "--model", str(tiny_folder), "--crop-face", "no"]
    done = subprocess.run([*command, "--runtime", runtime], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert f"the model converted for {runtime} cannot be stored in" in done.stderr
    assert "free some space there, or set MARLIN_HOME to another folder" in done.stderr
    left = [path for path in Path(os.environ["MARLIN_HOME"]).rglob("*") if path.is_file()]
    assert left == []


def test_names_as_long_as_a_file_system_allows(tiny_folder: Path, tmp_path: Path) -> None:
    long = write_video(tmp_path / f"{'n' * 240}.mp4", noise(20, 32, 32))
    write_video(tmp_path / "short.mp4", noise(20, 32, 32))
    done = run(f"{long.name} {'x' * 300}.mp4 short.mp4 -o out", tiny_folder)
    assert done.returncode == 1
    assert done.stderr.count(b"File name too long (VideoDecodeError)") == 1
    assert sorted(path.name for path in Path("out").glob("*.npz")) == [f"{'n' * 240}.npz", "short.npz"]
    assert np.isfinite(VideoFeatures.load(f"out/{'n' * 240}.npz").features).all()
