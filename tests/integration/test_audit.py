"""`marlin-sdk audit` as a user calls it: videos, a dump with columns, predictions; and what it refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tests.integration.warm import WarmServer
from tests.unit.evaluation.audit.auditing import labelled_dump, people

from marlin_sdk.cli.evaluation.audit import command
from marlin_sdk.evaluation.predictions import Predictions, write_predictions

Audit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def audit(warm_server: WarmServer, no_network: Mapping[str, str]) -> Audit:
    return partial(warm_server.run, "marlin-sdk", "audit", environment=no_network)


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """A dump of 80 people and predictions that err for half of them."""
    labels = people(80)
    opened = labelled_dump(tmp_path / "features", labels, told="sex")
    random = np.random.default_rng(0)
    truth = random.random(len(labels)) < 0.5
    noise = np.array([2.0 if own["sex"] == "f" else 0.2 for own in labels]) * random.standard_normal(len(labels))
    score = 1 / (1 + np.exp(-(np.where(truth, 1.5, -1.5) + noise)))
    predictions = Predictions.of(id=list(opened), y_true=truth, scores={"true": score}, label="smile")
    write_predictions(tmp_path / "predictions.parquet", predictions)
    return tmp_path / "features"


def test_videos_alone_give_a_stress_test(tmp_path: Path, astronaut: Path, tiny_folder: Path, audit: Audit) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    options = ("--model", tiny_folder, "--detector", "lbp", "--seconds", "0.8", "--only", "occlusion", "--only", "blur")
    done = audit(astronaut, tmp_path / "broken.mp4", "-o", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert "left out" in done.stderr
    assert "broken.mp4" in done.stderr
    values = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert values["dump"] is None
    blur, occlusion = values["stress"]["curves"]
    assert [point["strength"] for point in occlusion["points"]] == [0, 0.1, 0.2, 0.35, 0.5]
    assert blur["points"][0]["recall"]["value"] == 1
    assert occlusion["points"][4]["r2_within"] is None or occlusion["points"][4]["r2_within"] < 0.999
    page = (tmp_path / "out" / "audit.html").read_text()
    assert "broken.mp4" in page
    assert "<script" not in page


def test_dump_and_predictions_are_divided_by_columns(tmp_path: Path, dump: Path, audit: Audit) -> None:
    options = ("--by", "sex", "--by", "age", "--skin", "--draws", "200")
    done = audit("--dump", dump, "--predictions", tmp_path / "predictions.parquet", *options, "-o", "out")
    assert done.returncode == 0, done.stderr
    values = json.loads(Path("out/audit.json").read_text())["dump"]
    assert [table["title"] for table in values["tables"]] == ["Finding faces", "Predicting smile", "The picture"]
    rows = {row["value"]: row["estimates"] for row in values["tables"][1]["rows"]}
    assert rows["f"]["auc"]["to_best"]["p_corrected"] < 0.05
    assert rows["m"]["auc"]["is_best"]
    assert values["probes"][0]["balanced_accuracy"] > 0.9
    page = Path("out/audit.html").read_text()
    assert "sex f: AUC" in page
    assert "too few" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to audit: give VIDEOS"),
        (("--by", "sex"), "divide a dump: give --dump too"),
        (("--dump", "features"), "give --by, such as --by sex --by age"),
        (("--dump", "features", "--by", "gender"), "'gender' is no label column of the dump; it has 'age', 'sex'"),
        (("--dump", "features", "--by", "sex", "--draws", "10"), "10 draws are too few"),
        (("--dump", "features", "--by", "sex", "--head", "features"), "--head is compared on spoilt VIDEOS"),
        (("v.mp4", "--only", "fog"), "'fog' is no perturbation; expected one of gamma, contrast"),
    ],
)
def test_what_makes_no_sense_is_refused(dump: Path, arguments: tuple[str, ...], message: str) -> None:
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not Path("audit").exists()


def test_damaged_predictions_are_a_failure_with_the_reason(tmp_path: Path, dump: Path) -> None:
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    done = CliRunner().invoke(command, ["--dump", str(dump), "--by", "sex", "--predictions", "bad.parquet"])
    assert done.exit_code == 1
    assert "bad.parquet: cannot be read as a predictions file" in done.output
