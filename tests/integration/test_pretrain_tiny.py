"""The example that asks whether it learns: its baselines by hand, and the whole of it at the smallest size."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tests.conftest import ROOT
from tests.patience import HANG_S

SCRIPT = ROOT / "examples" / "pretrain_tiny.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pretrain_tiny", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pretrain_tiny"] = module
    spec.loader.exec_module(module)
    return module


def test_mean_colour_is_that_of_what_is_visible(example: ModuleType) -> None:
    true = torch.zeros(512, 384)
    true[0, :128], true[1, :128], true[1, 128:256] = 0.2, 0.4, 1.0  # red, red, green
    mask = torch.arange(512) < 2
    filled = example.mean_colour(true, mask)
    assert filled.shape == (510, 384)
    expected = torch.tensor([0.3, 0.5, 0.0]).repeat_interleave(128)
    assert torch.allclose(filled, expected.expand(510, -1))


def test_nearest_visible_is_counted_in_tubelets(example: ModuleType) -> None:
    """The grid is 8x8x8: token 1 is one column off token 0, token 64 one tubelet of time."""
    true = torch.arange(512.0)[:, None].expand(-1, 384)
    mask = torch.zeros(512, dtype=torch.bool)
    mask[[0, 511]] = True
    filled = example.nearest_visible(true, mask)[:, 0]
    hidden = [token for token in range(512) if token not in (0, 511)]
    assert filled[hidden.index(1)] == filled[hidden.index(64)] == 0
    assert filled[hidden.index(510)] == filled[hidden.index(447)] == 511


def held_out_of(example: ModuleType) -> Any:
    """Two clips with 3 masked tubelets each, of which one or two move; the second clip is real."""
    moving, is_real = np.array([[True, False, False], [False, True, True]]), np.array([False, True])
    mask = torch.arange(512) < 509
    return example.HeldOut(torch.zeros(2, 16, 64, 64, 3, dtype=torch.uint8), mask.expand(2, -1), moving, is_real)


def test_summary_is_over_tubelets_of_each_kind(example: ModuleType) -> None:
    errors = np.array([[0.4, 0.2, 0.0], [0.6, 0.1, 0.2]], dtype=np.float32)
    summary = example.summarise(errors, held_out_of(example))
    assert summary == pytest.approx(
        {
            "all": 0.25,
            "all moving": 0.7 / 3,
            "cartoon": 0.2,
            "cartoon moving": 0.4,
            "real": 0.3,
            "real moving": 0.15,
        }
    )


def test_baseline_fills_each_clip_with_its_own_mask(example: ModuleType) -> None:
    """Black clips filled with white: every error is 1."""
    held = held_out_of(example)
    errors = example.fill_errors(held, example.on_tubelets(lambda _, mask: torch.ones(int((~mask).sum()), 384)))
    assert np.array_equal(errors, np.ones((2, 3), dtype=np.float32))


def reported(**changes: dict[str, float]) -> dict[str, dict[str, float]]:
    """A report in which the model beats every baseline."""
    worse = {"all": 0.3, "all moving": 0.5, "real": 0.2, "real moving": 0.4}
    names = ("mean face", "mean colour", "nearest visible", "still face")
    report = {
        "this model": {name: value - 0.1 for name, value in worse.items()},
        **{name: dict(worse) for name in names},
    }
    for name, values in changes.items():
        report[name.replace("_", " ")].update(values)
    return report


def test_model_must_beat_the_mean_face_on_every_kind_of_clip(example: ModuleType) -> None:
    assert example.verdict(reported())[1] == []
    lines, missed = example.verdict(reported(mean_face={"real": 0.1}))  # as good is not better
    assert missed == ["mean face"]
    assert lines[0] == "beats the mean face: all yes, all moving yes, real NO, real moving yes"
    assert example.verdict(reported(this_model={"all": float("nan")}))[1] == list(example.REQUIRED)


def test_still_face_and_moving_parts_are_reported_but_not_required(example: ModuleType) -> None:
    lines, missed = example.verdict(reported(still_face={"real": 0.05}, mean_face={"all moving": 0.1}))
    assert missed == []
    assert lines[-1] == "beats the still face: all yes, all moving yes, real NO, real moving yes"
    assert lines[0] == "beats the mean face: all yes, all moving NO, real yes, real moving yes"


def test_cartoons_move_and_differ(example: ModuleType) -> None:
    first, again, other = (np.stack(list(example.draw_cartoon(seed))) for seed in (1, 1, 2))
    assert first.shape == (64, 64, 64, 3)
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10
    assert np.abs(first[0].astype(int) - first[20]).max() > 60


@pytest.mark.long
def test_example_runs_and_reports(tmp_path: Path) -> None:
    """Two steps beat no baseline, and the script says so by its exit status."""
    options = ["-o", str(tmp_path / "tiny"), "--steps", "2", "--batch-size", "2", "--cartoons", "6"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "MARLIN_SHARED": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )
    assert done.returncode == 1, done.stderr
    *_, still, last = done.stdout.splitlines()
    assert still == "beats the still face: all NO, all moving NO, cartoon NO, cartoon moving NO"
    assert last == "does NOT beat: mean face, mean colour, nearest visible"
    assert "1 held out" in done.stdout
    report = json.loads((tmp_path / "tiny" / "report.json").read_text())
    baselines = {"mean face", "still face", "mean colour", "nearest visible"}
    assert set(report) == {"this model", *baselines, "untrained model", "retrieval"}
    assert report["this model"]["all"] < report["untrained model"]["all"]
    for name in baselines:
        assert report[name]["all"] == report[name]["cartoon"]  # none of the held-out faces is real
        assert 0 < report[name]["all"] < report[name]["all moving"] < report["this model"]["all moving"]
    lines = (tmp_path / "tiny" / "metrics.jsonl").read_text().splitlines()
    logged = json.loads([line for line in lines if "mean_face" in line][-1])
    for name in ("mean face", "still face"):  # other windows and masks of the same face
        assert logged[f"val/{name.replace(' ', '_')}"] == pytest.approx(report[name]["all"], rel=0.3)
    for name in ("held-out.png", "still-face.png", "loss.png"):
        assert cv2.imread(str(tmp_path / "tiny" / name)) is not None
