"""The scripts in examples/ run, and make what they say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tests.conftest import ROOT
from tests.making import write_video

EXAMPLES = ROOT / "examples"


def run(script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", EXAMPLES / script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_crop_strip_shows_a_face_for_every_window(tmp_path: Path, astronaut: Path) -> None:
    done = run("crop_strip.py", astronaut, "-o", tmp_path / "strip.png", "--detector", "lbp")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'strip.png'}: 4 windows, 3.96 s\n"
    made = imread(tmp_path / "strip.png")[..., :3]
    shown = imread(ROOT / "docs" / "assets" / "crop-strip.png")[..., :3]
    assert made.shape == shown.shape
    # Fonts, codecs and boxes differ a little from one machine to the next; without the crops it differs by a fifth.
    assert np.abs(made - shown).mean() < 0.04
    assert np.abs(1 - shown).mean() > 0.15


def test_crop_strip_of_a_video_without_a_face_says_so(tmp_path: Path) -> None:
    video = write_video(tmp_path / "grey.mp4", np.full((20, 96, 128, 3), 90, dtype=np.uint8))
    done = run("crop_strip.py", video, "-o", tmp_path / "strip.png", "--detector", "lbp")
    assert done.returncode != 0
    assert "NoFaceError" in done.stderr
    assert not (tmp_path / "strip.png").exists()


@pytest.mark.shared
def test_crop_strip_takes_a_detector_file(tmp_path: Path, astronaut: Path, shared: Path) -> None:
    yunet = shared / "weights" / "face_detection_yunet_2023mar.onnx"
    done = run("crop_strip.py", astronaut, "-o", tmp_path / "strip.png", "--detector", yunet)
    assert done.returncode == 0, done.stderr
    assert "4 windows" in done.stdout


def test_example_video_is_what_its_script_makes(tmp_path: Path, astronaut: Path) -> None:
    """Frame by frame and not byte by byte: another build of x264 writes other bytes."""
    from marlin_sdk.video.reader import open_video

    done = run("make_astronaut.py", tmp_path / "again.mp4")
    assert done.returncode == 0, done.stderr
    with open_video(astronaut) as first, open_video(tmp_path / "again.mp4") as second:
        pairs = list(zip(first, second, strict=True))
        assert len(pairs) == 100
        for ours, theirs in pairs[::9]:
            assert ours.time_s == theirs.time_s
            assert np.abs(ours.rgb.astype(int) - theirs.rgb).mean() < 2
