"""`marlin-sdk evaluate`: tables, JSON, exit statuses."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from marlin_sdk.cli.evaluation.evaluate import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Windows of 80 videos of 40 people, as another program writes them."""
    return write(tmp_path / "p.parquet")


def write(path: Path, *, noise: float = 1.0, windows: int = 3, labels: Sequence[str] = ("smile",)) -> Path:
    rng = np.random.default_rng(int(noise * 10))
    video, window, label = (grid.ravel() for grid in np.meshgrid(range(80), range(windows), range(len(labels))))
    y_true = np.random.default_rng(0).integers(0, 2, 80)[video]
    columns: dict[str, Any] = {
        "id": [f"video{n}" for n in video],
        "window": window if windows > 1 else -1,
        "group": [f"person{n // 2}" for n in video],
        "label": np.array(labels)[label],
        "y_true": y_true,
        "score_1": 1 / (1 + np.exp(-(2 * y_true - 1 + noise * rng.standard_normal(len(video))))),
    }
    pd.DataFrame(columns).to_parquet(path)
    return path


def test_table_has_both_levels_of_a_file_of_windows(file: Path) -> None:
    result = run(file, "--draws", 200)
    assert (result.exit_code, result.stderr) == (0, "")
    video, window = result.stdout.split("\n\n", 1)[0], result.stdout[result.stdout.index("window level") :]
    assert video.startswith("video level; 95% percentile intervals of 200 draws of groups, seed 0")
    assert "test: 80 videos of 40 groups" in result.stdout
    assert "smile                 accuracy" in window
    assert "window level" not in run(file, "--level", "video", "--draws", 200).stdout


def test_other_file_metrics_and_json(file: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "q.parquet", noise=3)
    output = tmp_path / "deep" / "results.json"
    settings = ["--metric", "auc", "--metric", "UAR", "--interval", "bca", "--seed", 3, "--draws", 200]
    result = run(file, other, *settings, "--json", "-o", output)
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found == json.loads(output.read_text())
    assert (found["predictions"], found["other"]) == (str(file), str(other))
    video, window = found["evaluations"]
    assert [video["level"], window["level"]] == ["video", "window"]
    assert (video["interval"], video["seed"], video["draws"]) == ("bca", 3, 200)
    (row,) = video["rows"]
    assert list(row["measures"]) == ["auc", "balanced_accuracy"]
    assert row["differences"]["auc"]["value"] > 0
    assert row["measures"]["auc"]["value"] > window["rows"][0]["measures"]["auc"]["value"]


def test_json_has_the_labels_that_the_table_sums_up(tmp_path: Path) -> None:
    file = write(tmp_path / "p.parquet", labels=["smile", "frown"], windows=1)
    output = tmp_path / "results.json"
    table = run(file, "--draws", 200, "-o", output).stdout
    assert "macro" in table
    assert "micro" in table
    assert "smile" not in table
    (evaluation,) = json.loads(output.read_text())["evaluations"]
    assert [row["label"] for row in evaluation["rows"]] == ["macro", "micro", "smile", "frown"]


def test_quiet_prints_nothing(file: Path, tmp_path: Path) -> None:
    result = run(file, "-q", "--draws", 200, "-o", tmp_path / "r.json")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "r.json").exists()


def test_bad_content_fails_with_status_1_and_its_name(file: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(file)
    bad = tmp_path / "bad.parquet"
    table.rename(columns={"score_1": "prob\x1b[31m"}).to_parquet(bad)
    result = run(bad)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"failed: {bad}: unknown columns ['prob\\x1b[31m']")
    assert result.stderr.endswith("(PredictionsError)\n")
    table[table["id"] != "video7"].to_parquet(bad, index=False)
    result = run(file, bad)
    assert result.exit_code == 1
    assert "only in the first: 'video7'" in result.stderr
    assert run(file, "-o", file / "x.json").exit_code == 1


def test_labels_do_not_steer_the_terminal(tmp_path: Path) -> None:
    result = run(write(tmp_path / "p.parquet", labels=["\x1b[2Jsmile"], windows=1), "--draws", 200)
    assert "\\x1b[2Jsmile" in result.stdout
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "ccc"], "['ccc'] are not defined for predictions of the task 'binary'"),
        (["--draws", "5"], "5 draws are too few"),
        (["--interval", "normal"], "'normal' is not one of"),
        (["--level", "frame"], "'frame' is not one of"),
    ],
)
def test_unusable_command_exits_with_2(file: Path, arguments: list[str], said: str) -> None:
    result = run(file, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_absent_file_is_a_usage_error(tmp_path: Path) -> None:
    result = run(tmp_path / "absent.parquet")
    assert result.exit_code == 2
    assert "absent.parquet" in result.stderr
