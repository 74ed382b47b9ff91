"""`marlin-sdk finetune`: from a table of videos to a model that predicts; in two processes too."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from tests.conftest import ROOT
from tests.making import TINY, write_checkpoint, write_video
from tests.patience import HANG_S
from tests.unit.training.finetune.labelling import SETTINGS, clips, write_table

from marlin_sdk import Marlin, Predictor
from marlin_sdk.cli.main import main
from marlin_sdk.errors import TrainingError
from marlin_sdk.evaluation.predictions import read_predictions
from marlin_sdk.inputs.tables import read_table
from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.finetune.data.placing import WindowRule
from marlin_sdk.training.finetune.data.preparing import prepare_rows, settings_for
from marlin_sdk.training.finetune.run import finetune
from marlin_sdk.training.settings import load_settings
from marlin_sdk.training.start import Start
from marlin_sdk.video.reader import open_video

COMMAND = "from marlin_sdk.cli.main import main\n\nif __name__ == '__main__':\n    main()\n"


def here(folder: Path, *arguments: object, status: int = 0) -> Result:
    """The command in this process: starting one takes longer than most of what is tested."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == status, done.output
    return done


def marlin_sdk(folder: Path, *arguments: object, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    script = folder / "command.py"
    script.write_text(COMMAND)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script), *map(str, arguments)],
        env=environment, cwd=folder, capture_output=True, text=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory, astronaut: Path, tiny: Marlin) -> Path:
    """Eight copies of a part of a real video with labels, one broken, one missing, and a tiny model."""
    folder = tmp_path_factory.mktemp("videos")
    with open_video(astronaut) as reader:
        part = write_video(folder / "part.mp4", [frame.rgb for frame in islice(reader, 36)], options={"qp": "0"})
    rows = []
    for index in range(10):
        name = f"v{index}.mp4"
        if index < 8:
            shutil.copy(part, folder / name)
        elif index == 8:
            (folder / name).write_bytes(b"no video")
        rows.append({"path": name, "id": f"c{index}", "mood": "ab"[index % 2], "group": f"p{index}", "split": ""})
        rows[-1]["split"] = "test" if index in (4, 5) else "val" if index in (6, 7) else "train"
    write_table(folder / "clips.csv", rows)
    write_checkpoint(folder / "model", tiny)
    return folder


@pytest.fixture(scope="module")
def done(videos: Path) -> Path:
    """A run from videos."""
    (videos / "settings.yaml").write_text("epochs: 2\nmax_broken: 0.5\npatience: 0\ncolour: 0.1\n")
    said = marlin_sdk(
        videos, "finetune", "--table", "clips.csv", "--label", "mood", "-o", "run", "--model", "model", "--detector",
        "lbp", "--config", "settings.yaml", "--batch-size", 2, "--num-workers", 0, "--accelerator", "cpu",
        "--workers", 1, "--base-lr", 0.01,
    )  # fmt: skip
    assert "v8.mp4: broken" in said.stderr
    assert "note: 1 videos do not exist, such as" in said.stderr
    assert "note: 1 clips are left out (c8): broken video" in said.stderr
    assert "balanced_accuracy" in said.stdout
    return videos / "run"


def test_run_leaves_a_model_a_head_predictions_a_card_and_a_page(done: Path) -> None:
    names = {path.name for path in done.iterdir()}
    assert names >= {
        "config.json", "model.safetensors", "SHA256SUMS", "head.json", "head.safetensors", "predictions.parquet",
        "predictions-against.parquet", "predictions-majority.parquet", "predictions-windows.parquet", "results.json",
        "README.md", "report.html", "finetune.yaml", "shards",
    }  # fmt: skip
    assert Marlin.from_pretrained(done, device="cpu").config == TINY.without_decoder()
    results = json.loads((done / "results.json").read_text())
    assert results["data"]["clips"] == {"train": 4, "val": 2, "test": 2}
    assert results["data"]["crops"]["parser"] == "none"
    assert results["data"]["speed"]["speed/clips_per_s"] > 0
    assert results["paired"] is not None
    card = (done / "README.md").read_text()
    assert "| a linear probe of the encoder as it was |" in card
    assert "1 clips are left out (c9): its video is not in" in card
    assert load_settings(done / "finetune.yaml")["label"] == "mood"
    assert "a linear probe of the encoder as it was" in (done / "report.html").read_text()


def test_prediction_of_a_tested_video_is_what_was_tested(done: Path) -> None:
    """From the video, with crops of its own; they differ a little from those of the shards."""
    said = Predictor.from_head(done, device="cpu", detector="lbp").predict(done.parent / "v4.mp4").labels["mood"]
    tested = read_predictions(done / "predictions.parquet")
    row = next(index for index in range(len(tested)) if tested.id[index] == "c4")
    assert said.scores["b"] == pytest.approx(float(tested.scores[row, 0]), abs=0.02)
    windows = read_predictions(done / "predictions-windows.parquet")
    own = [index for index in range(len(windows)) if windows.id[index] == "c4"]
    assert [int(windows.window[index]) for index in own] == [0, 1]


@pytest.fixture(scope="module")
def in_time(done: Path) -> Path:
    """A run whose head reads time steps, from the faces of the other."""
    torch.set_num_threads(1)
    folder = done.parent
    config = FinetuneConfig.from_dict({**SETTINGS, "epochs": 1, "batch_size": 2, "pool": "time"})
    start = Start(folder / "model")
    finetune(
        config, folder / "in-time", table=folder / "clips.csv", start=start, shards=done / "shards", detector="lbp"
    )
    return folder / "in-time"


def test_head_that_reads_time_steps_predicts_what_was_tested(in_time: Path) -> None:
    predictor = Predictor.from_head(in_time, device="cpu", detector="lbp")
    assert (predictor.settings.pool, predictor.heads.width) == ("time", 8 * 32)
    said = predictor.predict(in_time.parent / "v4.mp4").labels["mood"]
    tested = read_predictions(in_time / "predictions.parquet")
    row = next(index for index in range(len(tested)) if tested.id[index] == "c4")
    assert said.scores["b"] == pytest.approx(float(tested.scores[row, 0]), abs=0.02)


@pytest.mark.long
def test_audit_takes_a_head_that_reads_time_steps(in_time: Path) -> None:
    options = ("--detector", "lbp", "--device", "cpu", "--seconds", "1.3", "--only", "gamma", "-o", "audit")
    here(in_time.parent, "audit", "v4.mp4", "--head", in_time, *options)
    stress = json.loads((in_time.parent / "audit/audit.json").read_text())["stress"]
    assert stress["head"]
    unchanged = next(point for point in stress["curves"][0]["points"] if point["strength"] == 0)
    assert unchanged["decisions_changed"]["value"] == 0


def test_predict_and_evaluate_take_the_run(done: Path) -> None:
    said = here(done.parent, "predict", "v4.mp4", "--head", "run", "--detector", "lbp", "--device", "cpu")
    assert "mood" in said.stdout
    said = here(done.parent, "evaluate", "run/predictions.parquet")
    assert "balanced_accuracy" in said.stdout


def test_finished_run_is_refused_and_resumed_without_a_step(done: Path) -> None:
    options = ("--table", "clips.csv", "--label", "mood", "-o", "run", "--model", "model", "--detector", "lbp")
    said = here(done.parent, "finetune", *options, status=2)
    assert "already holds a run; continue it with --resume" in said.stderr
    before = read_predictions(done / "predictions.parquet").scores
    here(done.parent, "finetune", *options, "--resume", "--workers", 1)
    assert np.array_equal(read_predictions(done / "predictions.parquet").scores, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--label", "mod"), "no label column is named or matches 'mod'"),
        ((), "--label is missing"),
        (("--label", "mood", "--ratios", "0.5,2"), "expected different numbers of more than 0, up to 1"),
        (("--label", "mood", "--epochs", "0"), "epochs is 0; expected an integer of at least 1"),
    ],
)
def test_wrong_usage_says_what_is_wrong(done: Path, options: tuple[str, ...], message: str) -> None:
    said = here(
        done.parent, "finetune", "--table", "clips.csv", "-o", "other", "--model", "model", "--shards", "run/shards",
        *options, status=2,
    )  # fmt: skip
    assert message in said.stderr


def test_many_broken_videos_stop_before_training(done: Path) -> None:
    """Nothing is prepared twice: the broken one is known."""
    settings = settings_for(TINY, WindowRule(), detector="lbp")
    with pytest.raises(TrainingError, match=r"2 of 10 videos are broken or missing \(v8\.mp4, .*v9\.mp4\), more than"):
        prepare_rows(read_table(done.parent / "clips.csv"), done / "shards", settings, max_broken=0.1)


def test_shares_of_the_training_part_are_runs_of_their_own(tmp_path: Path, tiny: Marlin) -> None:
    """From random weights, which have settings of their own."""
    torch.set_num_threads(1)
    table, faces = clips(tmp_path, count=30)
    write_checkpoint(tmp_path / "model", tiny)
    here(
        tmp_path, "finetune", "--table", table, "--label", "mood", "-o", "run", "--model", "model", "--untrained",
        "--shards", faces, "--ratios", "0.5,1", "--epochs", 1, "--batch-size", 4, "--accelerator", "cpu",
        "--num-workers", 0, "--layer-decay", 0.9,
    )  # fmt: skip
    settings = load_settings(tmp_path / "run/finetune.yaml")
    assert (settings["linear_probe"], settings["opening"], settings["layer_decay"]) == (False, 0.0, 0.9)
    assert (tmp_path / "run/ratio-0.5/checkpoints/last.ckpt").is_file()
    assert "| share of the training groups | draws |" in (tmp_path / "run/README.md").read_text()
    for arm in ("", "-against"):
        found = read_predictions(tmp_path / f"run/predictions{arm}.parquet")
        assert sorted(set(found.ratio.tolist())) == [0.5, 1.0]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return state


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, tiny: Marlin) -> tuple[Path, list[Any]]:
    """The same run in one process and in two, which have half of each batch each; and the options of the latter."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pair")
    table, faces = clips(folder)
    write_checkpoint(folder / "model", tiny)
    (folder / "plain.yaml").write_text("opening: 0.5\nclip_norm: 1.0\nflip: false\ncolour: 0.0\ncrop_jitter: 0.0\n")
    shared = ["finetune", "--table", table, "--label", "mood", "--model", "model", "--shards", faces, "--config",
              "plain.yaml", "--accelerator", "cpu", "--epochs", 2, "--num-workers", 0, "--base-lr", 0.05]  # fmt: skip
    here(folder, *shared, "-o", "one", "--batch-size", 4)
    two = [*shared, "-o", "two", "--batch-size", 2, "--devices", 2]
    marlin_sdk(folder, *two)
    return folder, two


@pytest.mark.long
def test_two_processes_learn_as_one_does(pair: tuple[Path, list[Any]]) -> None:
    folder, _ = pair
    one, two = weights(folder / "one"), weights(folder / "two")
    assert one.keys() == two.keys()
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < 2e-3
    places = torch.load(folder / "two/checkpoints/last.ckpt", weights_only=True)["progress"]["places"]
    assert len(places) == 2
    first, second = (read_predictions(folder / name / "predictions.parquet").scores for name in ("one", "two"))
    assert first == pytest.approx(second, abs=0.05)


@pytest.mark.long
def test_two_processes_resume(pair: tuple[Path, list[Any]]) -> None:
    folder, two = pair
    before = read_predictions(folder / "two/predictions.parquet").scores
    marlin_sdk(folder, *two, "--resume")
    assert np.array_equal(read_predictions(folder / "two/predictions.parquet").scores, before)
