"""The example that shows regions and masks over a real face."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from tests.conftest import ROOT
from tests.making import write_video
from tests.patience import HANG_S


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", ROOT / "examples" / "show_regions.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=HANG_S)


def test_regions_are_shown_over_a_real_face(tmp_path: Path, astronaut: Path) -> None:
    done = run(astronaut, "-o", tmp_path / "regions.png", "--detector", "lbp")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{tmp_path / 'regions.png'}: track 0, ")
    made = imread(tmp_path / "regions.png")[..., :3]
    for colour in ((37, 99, 235), (22, 163, 74), (225, 29, 72), (126, 34, 206)):  # eye, nose, mouth, hair
        assert (np.abs(made * 255 - colour).max(axis=2) < 2).sum() > 500, colour


@pytest.mark.shared
def test_picture_of_the_documentation_is_what_the_example_makes(tmp_path: Path, astronaut: Path, shared: Path) -> None:
    yunet = shared / "weights" / "face_detection_yunet_2023mar.onnx"
    done = run(astronaut, "-o", tmp_path / "regions.png", "--detector", yunet)
    assert done.returncode == 0, done.stderr
    made, shown = imread(tmp_path / "regions.png")[..., :3], imread(ROOT / "docs/assets/regions.png")[..., :3]
    assert made.shape == shown.shape
    assert np.abs(made - shown).mean() < 0.04  # fonts and codecs differ a little from one machine to the next


def test_video_without_a_face_says_so(tmp_path: Path) -> None:
    video = write_video(tmp_path / "grey.mp4", np.full((40, 96, 128, 3), 90, dtype=np.uint8))
    done = run(video, "-o", tmp_path / "regions.png", "--detector", "lbp")
    assert done.returncode != 0
    assert "shows no face for 31 frames" in done.stderr
    assert not (tmp_path / "regions.png").exists()
