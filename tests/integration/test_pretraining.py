"""Whole runs of the tiny model: they resume, run in two processes, stop where they must, and leave a model."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from lightning.fabric import Fabric
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tests.conftest import ROOT
from tests.generated_clips import GeneratedClips
from tests.making import TINY, lay
from tests.patience import HANG_S, wait_for

from marlin_sdk import Marlin
from marlin_sdk.errors import ConfigError, TrainingError, VideoDecodeError
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.run import Run, pretrain, run_folder
from marlin_sdk.training.settings import load_settings

SETTINGS: dict[str, Any] = {
    "model": TINY,
    "max_steps": 20,
    "batch_size": 4,
    "num_workers": 0,
    "accelerator": "cpu",
    "base_lr": 0.05,
    "log_every": 2,
    "save_every": 10,
    "val_every": 10,
    "picture_every": 10,
    "val_clips": 8,
}
TWO: dict[str, Any] = {"max_steps": 6, "masking": "tube", "warmup": 0.0, "devices": 2}
READ_FOR_MEAN_FACE = 12  # clips of the first pass, before training
# What a child process runs: the settings that differ, the folder, and whether it goes on.
SCRIPT = """
import json, sys, time
from tests.integration.test_pretraining import SETTINGS, Stuck
from tests.generated_clips import GeneratedClips
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.run import Run, pretrain

if __name__ == "__main__":
    settings, folder, resume, last_clip = json.loads(sys.argv[1]), *sys.argv[2:4], int(sys.argv[4])
    config = PretrainConfig.from_dict({**SETTINGS, **settings})
    train = Stuck(last_clip, folder) if last_clip else GeneratedClips()
    pretrain(config, folder, train=train, val=GeneratedClips(8, seed=1), run=Run(resume=resume == "resume"))
"""


class Stuck(GeneratedClips):
    """Gives so many clips, then writes a file `stuck` and gives no more, so that a test can kill the run."""

    def __init__(self, last_clip: int, folder: str) -> None:
        super().__init__()
        self._left, self._folder = last_clip, Path(folder)

    def __iter__(self) -> Any:
        for item in super().__iter__():
            while not self._left:
                (self._folder / "stuck").touch()
                time.sleep(0.1)
            self._left -= 1
            yield item


def start(
    folder: Path, settings: dict[str, Any] | None = None, *, resume: bool = False, last_clip: int = 0
) -> subprocess.Popen[str]:
    script = folder.parent / f"{folder.name}.py"
    script.write_text(SCRIPT)
    arguments = [json.dumps(settings or {}), str(folder), "resume" if resume else "new", str(last_clip)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(script), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    said, _ = process.communicate(timeout=HANG_S)
    assert process.returncode == 0, said
    return said


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return state


def run(folder: Path, *, val: bool = True, asked: Run | None = None, **settings: Any) -> Any:
    config = PretrainConfig.from_dict({**SETTINGS, **settings})
    return pretrain(
        config, folder, train=GeneratedClips(), val=GeneratedClips(8, seed=1) if val else None, run=asked or Run()
    )


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 steps without a break."""
    folder = tmp_path_factory.mktemp("straight") / "run"
    torch.set_num_threads(1)
    run(folder, asked=Run(data="Generated clips.", name="lab/tiny", licence="mit"))
    return folder


def test_run_leaves_a_model_that_from_pretrained_takes(straight: Path) -> None:
    assert {path.name for path in straight.iterdir()} == {
        "README.md",
        "SHA256SUMS",
        "checkpoints",
        "config.json",
        "logs",
        "metrics.jsonl",
        "model.safetensors",
        "pictures",
        "pretrain.yaml",
    }
    model = Marlin.from_pretrained(straight, decoder=True, device="cpu")
    assert model.config == TINY
    best = Marlin.from_pretrained(straight / "checkpoints" / "best.ckpt", device="cpu")
    clips = torch.rand(1, *TINY.clip_shape)
    assert torch.equal(model.extract_clip(clips), best.extract_clip(clips))
    assert "license: mit" in (straight / "README.md").read_text()
    assert PretrainConfig.from_dict(load_settings(straight / "pretrain.yaml")) == PretrainConfig.from_dict(SETTINGS)


def test_run_learns_and_logs_what_it_does(straight: Path) -> None:
    lines = [json.loads(line) for line in (straight / "metrics.jsonl").read_text().splitlines()]
    train = [line["train/reconstruction"] for line in lines if "train/reconstruction" in line]
    assert len(train) == 10
    assert train[-1] < 0.8 * train[0]
    assert [line["step"] for line in lines if "val/reconstruction" in line] == [10, 20]
    speeds = [line for line in lines if "speed/clips_per_s" in line]
    assert all(line["speed/clips_per_s"] > 0 and 0 < line["speed/share_of_peak"] < 1 for line in speeds)
    assert all(0 <= line["speed/waiting_for_data"] < 1 for line in speeds)


def test_tensorboard_reads_losses_rates_and_pictures(straight: Path) -> None:
    board = EventAccumulator(str(straight / "logs"), size_guidance={"images": 0})
    board.Reload()
    tags = board.Tags()
    assert {"train/reconstruction", "train/fooling", "train/critic", "train/lr", "val/reconstruction"} <= set(
        tags["scalars"]
    )
    assert tags["images"] == ["reconstruction"]
    assert [event.step for event in board.Images("reconstruction")] == [10, 20]
    picture = cv2.imread(str(straight / "pictures" / "step-0000020.png"))
    assert picture is not None
    assert picture.shape == (4 + 4 * 32 + 3 * 4, 4 * 32 + 3 * 4, 3)


def test_killed_run_that_goes_on_ends_where_a_straight_one_does(straight: Path, tmp_path: Path) -> None:
    """12 clips make 3 batches a pass, so step 10 lies inside one."""
    process = start(
        tmp_path / "killed", last_clip=READ_FOR_MEAN_FACE + 50
    )  # two steps beyond the checkpoint, which are lost
    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    wait_for((tmp_path / "killed" / "stuck").exists, unless=lambda: process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=HANG_S)
    content = torch.load(last, weights_only=True)
    assert (content["global_step"], content["progress"]["places"]) == (10, [[3, 1]])
    finish(start(tmp_path / "killed", resume=True))
    expected, got = weights(straight), weights(tmp_path / "killed")
    assert expected.keys() == got.keys()
    assert max(float((expected[key] - got[key]).abs().max()) for key in expected) < 1e-6


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6 steps in two processes that share the weights out between them."""
    folder = tmp_path_factory.mktemp("sharded") / "run"
    finish(start(folder, {**TWO, "strategy": "fsdp"}))
    return folder


def losses(folder: Path) -> list[float]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()[:3]
    return [json.loads(line)["train/reconstruction"] for line in lines]


def validation(folder: Path) -> dict[str, float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    (found,) = [line for line in lines if line["step"] == 6 and "val/reconstruction" in line]
    assert {"val/mean_face", "val/still_face", "val/still_face_moving"} < found.keys()
    return {name: float(value) for name, value in found.items()}


def test_two_processes_learn_alike_whole_or_sharded(sharded: Path, tmp_path: Path) -> None:
    finish(start(tmp_path / "whole", {**TWO, "strategy": "ddp"}))
    assert losses(tmp_path / "whole") == pytest.approx(losses(sharded), rel=1e-5)
    assert validation(tmp_path / "whole") == pytest.approx(validation(sharded), rel=1e-5)
    expected, got = weights(tmp_path / "whole"), weights(sharded)
    critic_bias = "discriminator.layers.1.linear.bias"  # cancels in the loss: its steps are rounding
    assert max(float((expected[key] - got[key]).abs().max()) for key in expected if key != critic_bias) < 1e-4
    run(tmp_path / "one", **{**TWO, "devices": 1, "base_lr": 0.1})
    assert losses(tmp_path / "one") == pytest.approx(losses(sharded), rel=0.1)
    assert losses(tmp_path / "one") != losses(sharded)  # the second process has masks of its own
    one, both = validation(tmp_path / "one"), validation(sharded)
    assert one["val/mean_face"] == pytest.approx(both["val/mean_face"], rel=0.05)
    assert one["val/mean_face"] != both["val/mean_face"]


def test_run_in_two_processes_goes_on_in_two(sharded: Path) -> None:
    content = torch.load(sharded / "checkpoints" / "last.ckpt", weights_only=True)
    assert (content["global_step"], content["progress"]["places"]) == (6, [[1, 3], [1, 3]])
    with pytest.raises(ConfigError, match="devices 2 then, 1 now"):
        run(sharded, asked=Run(resume=True), **{**TWO, "devices": 1})
    finish(start(sharded, {**TWO, "strategy": "fsdp", "max_steps": 8}, resume=True))
    content = torch.load(sharded / "checkpoints" / "last.ckpt", weights_only=True)
    assert (content["global_step"], content["progress"]["places"]) == (8, [[2, 2], [2, 2]])
    assert len((sharded / "metrics.jsonl").read_text().splitlines()) == 3 + 1 + 1 + 1


def test_loss_that_is_no_number_stops_with_the_batch_saved(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"step \d+ stopped: its loss is not finite.*bad-batch-step\d+-rank0\.pt"):
        run(tmp_path / "run", base_lr=1e30, warmup=0.0, adv_weight=0.0)
    (saved,) = (tmp_path / "run").glob("bad-batch-*.pt")
    content = torch.load(saved, weights_only=True)
    (batch,) = content["batches"]
    assert batch["clip"].shape == (4, 16, 32, 32, 3)
    assert batch["mask"].shape == (4, 32)
    assert len(batch["id"]) == 4


def test_folder_of_a_run_is_not_written_over(straight: Path) -> None:
    with pytest.raises(ConfigError, match="already holds a run; continue it with --resume"):
        run(straight)


def test_going_on_needs_a_run_with_the_same_settings(straight: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no run to resume"):
        run(tmp_path / "none", asked=Run(resume=True))
    with pytest.raises(ConfigError, match=r"these differ: batch_size 4 then, 2 now"):
        run(straight, asked=Run(resume=True), batch_size=2)
    with pytest.raises(ConfigError, match="--init starts a new run"):
        run(straight, asked=Run(resume=True, init="marlin_vit_small_ytf"))


def test_run_that_stopped_at_no_number_goes_on_as_the_message_says(tmp_path: Path) -> None:
    run(tmp_path / "run", max_steps=2)
    with pytest.raises(TrainingError, match="continue with --resume and a lower base_lr, or with clip_norm"):
        run(tmp_path / "run", asked=Run(resume=True), max_steps=9, base_lr=1e30, adv_weight=0.01)
    calm: dict[str, Any] = {"base_lr": 1e-3, "clip_norm": 1.0, "gradient_penalty": 10.0}
    assert run(tmp_path / "run", asked=Run(resume=True), max_steps=4, **calm).reconstruction < 1


def test_batch_that_cannot_be_saved_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run"
    (folder / "bad-batch-step2-rank0.pt").mkdir(parents=True)  # a file cannot be written there
    with pytest.raises(TrainingError, match=r"its loss is not finite.*the batch cannot be saved as"):
        run(folder, base_lr=1e30, warmup=0.0, adv_weight=0.0)


def test_second_run_at_the_same_time_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with (
        run_folder(folder).lock(Fabric(accelerator="cpu", devices=1)),
        pytest.raises(ConfigError, match="another run is using"),
    ):
        run(folder)
    assert run(folder, max_steps=1).step == 1


@pytest.mark.parametrize("name", ["README.md", "config.json", "model.safetensors"])
def test_folder_of_something_else_is_not_written_over(tmp_path: Path, name: str) -> None:
    file = lay(tmp_path / name, b"of somebody")
    with pytest.raises(ConfigError, match=f"is not a run, but holds {name}"):
        run(tmp_path)
    assert file.read_bytes() == b"of somebody"


def test_numbers_of_steps_that_a_kill_undid_are_dropped(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run(folder, max_steps=4, log_every=1, val_every=100)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "train/reconstruction": 9}\n{"step": 6, "tra')
    run(folder, asked=Run(resume=True), max_steps=6, log_every=1, val_every=100)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "train/lr" in line] == [1, 2, 3, 4, 5, 6]
    assert all(line.get("train/reconstruction", 0) < 1 for line in lines)


def test_run_without_held_out_clips_exports_its_last_weights(tmp_path: Path) -> None:
    result = run(tmp_path / "run", val=False, max_steps=2)
    assert result.best is None
    assert not (tmp_path / "run" / "checkpoints" / "best.ckpt").exists()
    model = Marlin.from_pretrained(tmp_path / "run", device="cpu")
    published = weights(tmp_path / "run")["encoder.norm.weight"]
    assert torch.equal(model.encoder.norm.weight, published)


def test_run_starts_from_another_run_and_logs_every_tensor(straight: Path, tmp_path: Path) -> None:
    run(tmp_path / "run", asked=Run(init=str(straight)), max_steps=1, base_lr=1e-9)
    lines = (tmp_path / "run" / "initialised.txt").read_text().splitlines()
    network = Marlin.from_pretrained(straight, decoder=True, device="cpu")
    assert network.decoder is not None
    count = len(network.encoder.state_dict()) + len(network.decoder.state_dict())
    assert sum(line.startswith("taken ") for line in lines) == count
    after = Marlin.from_pretrained(tmp_path / "run", device="cpu").encoder.state_dict()
    for key, before in network.encoder.state_dict().items():
        assert torch.allclose(before, after[key], atol=1e-6), key
    assert f"from {straight} (MARLIN)" in " ".join((tmp_path / "run" / "README.md").read_text().split())


class Interrupting(GeneratedClips):
    """Presses Ctrl-C while a clip is read."""

    def __init__(self, at_clip: int) -> None:
        super().__init__()
        self._left = at_clip

    def __iter__(self) -> Any:
        for item in super().__iter__():
            self._left -= 1
            if not self._left:
                os.kill(os.getpid(), signal.SIGINT)
            yield item


def test_ctrl_c_finishes_the_step_and_leaves_a_checkpoint_to_resume_from(straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    config = PretrainConfig.from_dict(SETTINGS)
    own = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
    try:
        with pytest.raises(KeyboardInterrupt, match="stopped after step 4 of 20"):
            pretrain(config, folder, train=Interrupting(READ_FOR_MEAN_FACE + 14), val=GeneratedClips(8, seed=1))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, own)
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 4
    torch.set_num_threads(1)
    run(folder, asked=Run(resume=True))
    expected, got = weights(straight), weights(folder)
    assert max(float((expected[key] - got[key]).abs().max()) for key in expected) < 1e-6


def test_without_a_bar_a_line_is_logged_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("marlin_sdk.training.monitor._LINE_EVERY_S", 0.0)
    with caplog.at_level("INFO", logger="marlin_sdk"):
        run(tmp_path / "run", max_steps=4, val=False)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("step ")]
    assert [line.partition(":")[0] for line in lines] == ["step 2 of 4", "step 4 of 4"]
    assert all(re.fullmatch(r"step \d of 4: loss \d\.\d{4}, [\d.]+ clips/s, 0:00:\d\d left", line) for line in lines)


class Broken(GeneratedClips):
    """A shard breaks off."""

    def __iter__(self) -> Any:
        yield from list(super().__iter__())[:2]
        raise VideoDecodeError("shards/train-000001.tar is truncated")


@pytest.mark.parametrize("num_workers", [0, 1])
def test_error_of_the_data_is_one_line(tmp_path: Path, num_workers: int) -> None:
    config = PretrainConfig.from_dict({**SETTINGS, "num_workers": num_workers})
    with pytest.raises(VideoDecodeError) as caught:
        pretrain(config, tmp_path / "run", train=Broken())
    assert str(caught.value) == "shards/train-000001.tar is truncated"
