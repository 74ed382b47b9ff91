"""The example that asks whether it learns: its baselines by hand, and the whole of it at the smallest size."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

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


def test_cartoons_move_and_differ(example: ModuleType) -> None:
    first, again, other = (np.stack(list(example.draw_cartoon(seed))) for seed in (1, 1, 2))
    assert first.shape == (64, 64, 64, 3)
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10
    assert np.abs(first[0].astype(int) - first[20]).max() > 60


def test_example_runs_and_reports(tmp_path: Path) -> None:
    """Two steps beat nobody, and the script says so by its exit status."""
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
    assert done.stdout.splitlines()[-1] == "does NOT beat both baselines"
    assert "1 held out" in done.stdout
    report = json.loads((tmp_path / "tiny" / "report.json").read_text())
    assert set(report) == {"this model", "mean colour", "nearest visible", "untrained model", "retrieval"}
    assert report["this model"]["all"] < report["untrained model"]["all"]
    for name in ("held-out.png", "nearest-visible.png", "loss.png"):
        assert cv2.imread(str(tmp_path / "tiny" / name)) is not None
