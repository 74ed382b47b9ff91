"""`marlin-sdk predict` as a person runs it: a probe of a small dump, and its head on other videos."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.integration.warm import WarmServer
from tests.making import noise, write_checkpoint, write_video

from marlin_sdk import Marlin, ModelConfig, Predictor
from marlin_sdk.cli.main import main
from marlin_sdk.video.reader import open_video

Run = Callable[..., subprocess.CompletedProcess[str]]
PEOPLE = 6


@pytest.fixture
def run(warm_server: WarmServer, no_network: Mapping[str, str]) -> Run:
    return partial(warm_server.run, "marlin-sdk", environment=no_network)


@pytest.fixture(scope="module")
def head(warm_server: WarmServer, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that tells dark videos from bright ones, on whole frames."""
    folder = tmp_path_factory.mktemp("head")
    lines = ["path,light,group"]
    for index in range(2 * PEOPLE):
        light = ("dark", "bright")[index % 2]
        frames = noise(40, 32, 32, seed=index) // 4 + (0 if light == "dark" else 190)
        write_video(folder / f"{index}.mp4", frames.astype(np.uint8))
        lines.append(f"{index}.mp4,{light},person {index // 2}")
    (folder / "clips.csv").write_text("\n".join(lines))
    model = ["--model", str(tiny_folder), "--detector", "lbp", "--device", "cpu", "--quiet"]
    probe = ["--label", "light", "--folds", "2", "--draws", "100", "--jobs", "1", "--quiet"]
    for arguments in (
        ["extract", "--table", str(folder / "clips.csv"), "-o", str(folder / "dump"), *model],
        ["probe", str(folder / "dump"), "-o", str(folder / "probe"), *probe],
    ):
        done = warm_server.run("marlin-sdk", *arguments, environment=os.environ)
        assert done.returncode == 0, done.stderr
    return folder / "probe"


@pytest.fixture
def lights(tmp_path: Path) -> Path:
    """A video that is dark first and bright then; one that is broken; and one that is no face's."""
    folder = tmp_path / "in"
    folder.mkdir()
    frames = noise(96, 32, 32, seed=77) // 4
    frames[64:] += 190
    write_video(folder / "lights.mp4", frames)
    (folder / "broken.mp4").write_bytes(b"no video at all")
    write_video(folder / "nobody.mp4", np.full((40, 96, 128, 3), 90, dtype=np.uint8))
    return folder


def test_predictions_of_a_folder_in_every_form(run: Run, head: Path, lights: Path, tiny_folder: Path) -> None:
    done = run(
        "predict", lights, "--head", head, "--model", tiny_folder, "--windows",
        "-o", "out.json", "-o", "out.csv", "-o", "films",
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "broken.mp4" in done.stderr
    assert "VideoDecodeError" in done.stderr
    assert "nobody.mp4: none of" in done.stderr
    assert "1 of 3 videos done, 2 failed" in done.stderr
    assert "Traceback" not in done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[0] == ["video", "label", "predicted", "probability", "windows"]
    assert (lines[1][0], lines[1][2], lines[1][-1]) == ("lights", "dark", "3")
    assert [line[5] for line in lines[2:]] == ["dark", "dark", "bright"]

    (video,) = json.loads(Path("out.json").read_text())
    prediction = Predictor.from_head(head, model=str(tiny_folder), device="cpu").predict(lights / "lights.mp4")
    assert video["id"] == "lights"
    assert video["labels"]["light"]["value"] == "dark"
    expected = [window.labels["light"].scores["dark"] for window in prediction.timeline]
    told = [window["labels"]["light"]["scores"]["dark"] for window in video["timeline"]]
    assert told == pytest.approx(expected, abs=1e-5)
    with Path("out.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["window"] != "-1"]
    assert [float(row["score_dark"]) for row in rows] == pytest.approx(expected, abs=1e-5)

    assert [path.name for path in Path("films").iterdir()] == ["lights.mp4"]
    with open_video("films/lights.mp4") as reader:
        frames = [frame.rgb for frame in reader]
        assert reader.fps == pytest.approx(25)
    assert (len(frames), frames[0].shape) == (96, (388, 360 + 4 + 480, 3))


def test_json_lines_and_a_film_of_one_video(run: Run, head: Path, lights: Path, tiny_folder: Path) -> None:
    video = lights / "lights.mp4"
    done = run("predict", video, "--head", head, "--model", tiny_folder, "-o", "-", "-o", "film.mkv", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert [window["labels"]["light"]["value"] for window in json.loads(line)["timeline"]] == ["dark", "dark", "bright"]
    with open_video("film.mkv") as reader:
        assert sum(1 for _ in reader) == 96


def test_head_of_other_weights_or_settings_is_refused(run: Run, head: Path, lights: Path, tiny: Marlin) -> None:
    other = write_checkpoint(Path("other"), Marlin.untrained(tiny.config, device="cpu", seed=5))
    wide = write_checkpoint(
        Path("wide"),
        Marlin.untrained(ModelConfig(encoder_embed_dim=16, encoder_depth=1, encoder_num_heads=2), device="cpu"),
    )
    video = lights / "lights.mp4"
    for model, told in ((other, "weights.weights_sha256: "), (wide, "weights.config.encoder_embed_dim: 32 there, 16")):
        done = run("predict", video, "--head", head, "--model", model, "-o", "out.json")
        assert done.returncode == 2
        assert "the head was fitted on other features than this model gives" in done.stderr
        assert told in done.stderr
    done = run("predict", video, "--head", head)
    assert done.returncode == 2
    assert "knows only the sha256" in done.stderr
    assert not Path("out.json").exists()


def test_detector_that_the_head_was_not_fitted_with_is_refused(
    run: Run, head: Path, lights: Path, tiny_folder: Path
) -> None:
    done = run("predict", lights, "--head", head, "--model", tiny_folder, "--detector", "yunet")
    assert done.returncode == 2
    assert "detector.name: 'lbp' there, 'yunet' here" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"format": 1, "pooling": "__import__"}', "cannot be read"),
        (None, "holds no head.json and head.safetensors; expected the output of a probe"),
    ],
)
def test_head_that_is_none_is_a_failure(
    content: str | None, message: str, head: Path, lights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(head, "copy")
    if content is None:
        Path("copy/head.json").unlink()
    else:
        Path("copy/head.json").write_text(content)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(lights), "--head", "copy"])
    assert ended.value.code == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lights.mp4", "-o", "out.avi"], "out.avi is none of .json, .csv"),
        (["lights.mp4", "broken.mp4", "-o", "out.mp4"], "the film of one video, and there are 2; name a folder"),
        (["lights.mp4", "-o", "lights.mp4"], "lights.mp4 is one of the videos"),
        (["lights.mp4", "-o", "a.csv", "-o", "./a.csv"], "two outputs are the same file"),
        (["*.xyz"], "*.xyz"),
        (["lights.mp4", "--label", "mood"], "the head has no label 'mood'; it has light"),
    ],
)
def test_usage_that_cannot_be_meant_is_refused(
    arguments: list[str],
    message: str,
    head: Path,
    lights: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(lights)
    before = (lights / "lights.mp4").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["predict", *arguments, "--head", str(head)])
    assert ended.value.code == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert (lights / "lights.mp4").read_bytes() == before
