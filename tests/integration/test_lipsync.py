"""`marlin-sdk lipsync`: a tiny network learns from generated talks to open mouths with their sound."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from tests.making import TINY, write_checkpoint
from tests.unit.sync.talking import mouth_frames, noise_sound, write_talk

from marlin_sdk import Marlin
from marlin_sdk.cli.main import main
from marlin_sdk.errors import ConfigError, NoFaceError, NoSoundError, TrainingError, WeightsError
from marlin_sdk.face.detections import Detections
from marlin_sdk.lipsync.files import load_lips
from marlin_sdk.lipsync.film import write_lips
from marlin_sdk.lipsync.maker import LipMaker
from marlin_sdk.model import Encoder
from marlin_sdk.sync.files import SyncFacts, save_sync
from marlin_sdk.sync.mel import log_mel
from marlin_sdk.sync.network import SyncConfig, SyncNetwork
from marlin_sdk.training.lipsync.config import LipsTrainConfig
from marlin_sdk.training.lipsync.run import train_lips
from marlin_sdk.training.lipsync.task import LipsResult
from marlin_sdk.training.start import Start
from marlin_sdk.video.reader import open_video
from marlin_sdk.video.sound import read_sound

SETTINGS: dict[str, Any] = {
    "size_px": 32, "width": 16, "sound_channels": 16, "sound_depth": 1, "batch_size": 4, "base_lr": 0.3,
    "encoder_lr": 0.0, "adversarial_weight": 0.0, "accelerator": "cpu", "val_every": 40,
    "save_every": 40,
}  # fmt: skip
TALK = mouth_frames(3, 99), noise_sound(3, 99)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten talks, one of them without sound, a tiny encoder, and a synchronisation model with random weights."""
    folder = tmp_path_factory.mktemp("lipsync")
    (folder / "videos").mkdir()
    for seed in range(10):
        write_talk(folder / "videos" / f"talk{seed}.mp4", mouth_frames(3, seed), noise_sound(3, seed))
    write_talk(folder / "videos" / "mute.mp4", mouth_frames(3, 77), None)
    write_checkpoint(folder / "encoder", Marlin.untrained(TINY, device="cpu", detector="lbp"))
    model = TINY.without_decoder()
    size = SyncConfig(model=model, dim=4, channels=8, depth=1, looks=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_sync(folder / "sync", SyncNetwork(Encoder(model), size).state_dict(), size, SyncFacts())
    return folder


def train(folder: Path, run: str, settings: dict[str, Any], **keywords: Any) -> LipsResult:
    """A run over the talks."""
    config = LipsTrainConfig(**settings)
    keywords = {"start": Start(str(folder / "encoder")), "sync": folder / "sync", **keywords}
    return train_lips([folder / "videos"], folder / run, config, detector="lbp", val_share=0.3, **keywords)


@pytest.fixture(scope="module")
def trained(folder: Path) -> LipsResult:
    torch.set_num_threads(2)
    return train(folder, "run", {**SETTINGS, "max_steps": 80})


@pytest.fixture(scope="module")
def maker(trained: LipsResult) -> LipMaker:
    return LipMaker.from_folder(trained.folder, device="cpu")


class OneFace:
    """A detector that knows where a face is, and from which brightness on there is one."""

    name = "one"

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        found = ([[40, 20, 72, 52]], [0.9])
        return [Detections.from_rows(*(found if frame[20:52, 40:72].mean() > 40 else ([], []))) for frame in frames]


def scene(seconds: float, seed: int) -> NDArray[np.uint8]:
    """A face in a larger frame."""
    frames = np.full((int(seconds * 25), 80, 128, 3), 90, dtype=np.uint8)
    frames[:, 20:52, 40:72] = mouth_frames(seconds, seed)
    return frames


def read(path: Path) -> NDArray[np.uint8]:
    with open_video(path) as reader:
        return np.stack([frame.rgb for frame in reader])


def test_made_mouths_are_nearer_than_those_of_the_reference(trained: LipsResult) -> None:
    assert trained.metrics["mouth"] < 0.7 * trained.metrics["reference_mouth"]
    assert "1 of 11 videos have no sound to train on (the first:" in trained.notes[0]
    facts = json.loads((trained.folder / "lips.json").read_text())
    assert facts["metrics"] == trained.metrics
    assert len(facts["sync"]) == 64
    assert list((trained.folder / "pictures").glob("*.png"))
    logged = [json.loads(line) for line in (trained.folder / "metrics.jsonl").read_text().splitlines()]
    with_sync = {line["step"] for line in logged if "train/sync" in line}
    assert with_sync == set(range(30, 81, 10))


def test_mouth_opens_with_the_sound_it_is_made_for(maker: LipMaker, tmp_path: Path) -> None:
    opened, wanted = [], []
    for seed in (99, 123):
        path = write_talk(tmp_path / f"{seed}.mp4", None, noise_sound(3, seed))
        made = maker.make(TALK[0], log_mel(read_sound(path)))
        opened.append(255.0 - made[:, 18:28, 9:23].mean(axis=(1, 2, 3)))
        wanted.append(255.0 - mouth_frames(3, seed)[:, 18:28, 9:23].mean(axis=(1, 2, 3)))
    alike = np.corrcoef([*opened, *wanted])[:2, 2:]
    assert alike.diagonal().min() > 0.3
    assert alike.diagonal().min() > np.fliplr(alike).diagonal().max() + 0.2


def test_film_has_the_face_in_its_frame_the_sound_and_the_marks(maker: LipMaker, tmp_path: Path) -> None:
    frames = scene(3, 5)
    frames[40:] = 0
    face = write_talk(tmp_path / "face.mp4", frames, noise_sound(3, 5))
    audio = write_talk(tmp_path / "speech.wav", None, noise_sound(2, 6), codec="pcm_s16le")
    made = write_lips(face, audio, tmp_path / "out.mp4", maker, OneFace())
    assert made.frames == 50
    assert 38 <= made.made <= 42
    assert any("the film ends with the sound, at 2.00 of 3.00 s" in note for note in made.notes)
    assert any("frames do not show the face, and are left as they are" in note for note in made.notes)
    film, source = read(tmp_path / "out.mp4").astype(int), read(face).astype(int)
    unmarked = write_lips(face, audio, tmp_path / "plain.mp4", maker, OneFace(), mark=False)
    plain = read(unmarked.path).astype(int)
    assert np.abs(film[:, 64:, :40] - plain[:, 64:, :40]).mean() > 20
    assert np.abs(plain[:20, :18] - source[:20, :18]).mean() < 4
    assert np.abs(plain[:30, 40:48, 48:64] - source[:30, 40:48, 48:64]).mean() > 10
    assert np.abs(plain[44:] - source[44:50]).mean() < 4
    for path in (made.path, unmarked.path):
        with av.open(str(path)) as container:
            assert container.metadata["comment"].startswith("SYNTHETIC MEDIA: the lips of this film were made by")
    heard, wanted = log_mel(read_sound(made.path)), log_mel(read_sound(audio))
    steps = min(len(heard.values), len(wanted.values)) - 4
    first, second = heard.values[:steps].mean(axis=1), wanted.values[:steps].mean(axis=1)
    assert np.corrcoef(first, second)[0, 1] > 0.95


def test_sound_longer_than_the_picture_loops_it_or_is_stopped(maker: LipMaker, tmp_path: Path) -> None:
    face = write_talk(tmp_path / "face.mp4", mouth_frames(1, 5), None)
    audio = write_talk(tmp_path / "speech.wav", None, noise_sound(2.4, 6), codec="pcm_s16le")
    looped = write_lips(face, audio, tmp_path / "loop.mp4", maker, OneFace(), mark=False)
    assert (looped.frames, looped.made) == (60, 60)
    assert "starts again 2 times" in looped.notes[0]
    film, source = read(looped.path).astype(int), read(face).astype(int)
    assert np.abs(film[25:50, :12] - source[:, :12]).mean() < 6
    stopped = write_lips(face, audio, tmp_path / "stop.mkv", maker, OneFace(), longer="stop")
    assert stopped.frames == 25
    assert "the sound is stopped where the picture ends, at 1.00 of 2.40 s" in stopped.notes[0]
    assert read_sound(stopped.path).end_s == pytest.approx(1.0, abs=0.07)


def test_bad_input_is_refused_and_nothing_is_written(maker: LipMaker, tmp_path: Path) -> None:
    face = write_talk(tmp_path / "face.mp4", scene(1, 5), noise_sound(1, 5))
    mute = write_talk(tmp_path / "mute.mp4", scene(1, 5), None)
    dark = write_talk(tmp_path / "dark.mp4", scene(1, 5) // 8, noise_sound(1, 5))
    before = face.read_bytes()
    cases: list[tuple[Path, Path, str, type[Exception], str]] = [
        (dark, face, "out.mp4", NoFaceError, "none of its 25 frames shows a face, so there are no lips to make"),
        (face, mute, "out.mp4", NoSoundError, "has no sound that can be decoded"),
        (face, mute, "face.mp4", ConfigError, "is --face itself, and would be overwritten"),
        (mute, face, "face.mp4", ConfigError, "is --audio itself, and would be overwritten"),
        (face, face, "out.avi", ConfigError, r"ends in \.mkv, \.mov, \.mp4"),
    ]
    for video, audio, name, error, message in cases:
        with pytest.raises(error, match=message):
            write_lips(video, audio, tmp_path / name, maker, OneFace())
    assert face.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dark.mp4", "face.mp4", "mute.mp4"]


def test_a_run_resumes_to_the_bit(folder: Path) -> None:
    steady = {**SETTINGS, "warmup": 0.0, "base_lr": 0.1, "base_min_lr": 0.1, "save_every": 2, "val_every": 2}
    steady |= {"sync_from": 0.0, "adversarial_weight": 0.07, "encoder_lr": 1.0}
    shards = folder / "run" / "shards"
    train(folder, "whole", {**steady, "max_steps": 4}, shards=shards)
    train(folder, "half", {**steady, "max_steps": 2}, shards=shards)
    train(folder, "half", {**steady, "max_steps": 4}, shards=shards, resume=True)
    states = [torch.load(folder / run / "checkpoints/last.ckpt") for run in ("whole", "half")]
    for part in ("state_dict", "critic"):
        assert all(torch.equal(states[0][part][key], states[1][part][key]) for key in states[0][part])
    with pytest.raises(ConfigError, match="these differ: width 16 then, 32 now"):
        train(folder, "half", {**steady, "width": 32}, shards=shards, resume=True)
    with pytest.raises(ConfigError, match="these differ: sync "):
        train(folder, "half", {**steady, "max_steps": 6}, shards=shards, sync=None, resume=True)


def test_data_and_models_of_another_size_are_refused(folder: Path, trained: LipsResult, tmp_path: Path) -> None:
    shards = folder / "run" / "shards"
    with pytest.raises(ConfigError, match="holds crops of 32 pixels, and faces of 64 are to be made: prepare with"):
        train(folder, "large", {**SETTINGS, "size_px": 64}, shards=shards)
    with pytest.raises(ConfigError, match="holds no model of marlin-sdk sync train"):
        train(folder, "unsure", SETTINGS, shards=shards, sync=folder / "encoder")
    with pytest.raises(TrainingError, match="fewer training tracks than the 64 of a batch"):
        train(folder, "few", {**SETTINGS, "batch_size": 64}, shards=shards)
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("lips.json", "lips.safetensors"):
        shutil.copy(trained.folder / name, copy / name)
    network, facts = load_lips(copy)
    assert facts.step in (40, 80)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    values = json.loads((copy / "lips.json").read_text())
    (copy / "lips.json").write_text(json.dumps({**values, "config": {**values["config"], "width": 32}}))
    with pytest.raises(WeightsError, match="does not fit its config"):
        load_lips(copy)
    (copy / "lips.json").write_text(json.dumps({**values, "weights_sha256": "0"}))
    with pytest.raises(WeightsError, match="is not the file that"):
        load_lips(copy)
    (copy / "lips.json").write_text('{"format": 1')
    with pytest.raises(WeightsError, match="cannot be read"):
        load_lips(copy)
    with pytest.raises(ConfigError, match="holds no model of marlin-sdk lipsync train"):
        load_lips(tmp_path)


def test_commands_train_the_control_generate_and_evaluate(folder: Path, trained: LipsResult, tmp_path: Path) -> None:
    runner = CliRunner()
    options = ["--encoder", str(folder / "encoder"), "--sync", str(folder / "sync"), "--detector", "lbp"]
    shards = ["--shards", str(folder / "run" / "shards"), "--size", "32", "--width", "16", "--batch-size", "2"]
    shards += ["--max-steps", "1", "--accelerator", "cpu"]
    control = runner.invoke(
        main,
        ["lipsync", "train", str(folder / "videos"), "-o", "control", *options, *shards, "--no-pretraining"],
    )
    assert control.exit_code == 0, control.output
    assert "1 steps done, error of pixels" in control.stderr
    start = json.loads(Path("control/lips.json").read_text())["start"]
    assert start["untrained"] is True
    new = tmp_path / "new"
    new.mkdir()
    for seed in (50, 51, 52):
        write_talk(new / f"{seed}.mp4", mouth_frames(2.4, seed), noise_sound(2.4, seed))
    base = ["--model", str(trained.folder), "--detector", "lbp", "--device", "cpu"]
    film = runner.invoke(
        main,
        ["lipsync", "generate", "--face", str(new / "50.mp4"), "--audio", str(new / "51.mp4"), *base, "-o", "f.mp4"],
    )
    assert film.exit_code == 0, film.output
    assert "60 of 60 frames with made lips: f.mp4" in film.stderr
    measured = runner.invoke(
        main,
        ["lipsync", "evaluate", str(new), *base, *options[:4], "-o", "r.json", "--films", "see"],
    )
    assert measured.exit_code == 0, measured.output
    (report,) = json.loads(Path("r.json").read_text())
    assert report["meta"]["judged_in_training"] is True
    assert "this model also judged the lips in their training" in measured.stdout
    errors = {name: row["error"]["value"] for name, row in report["mouths"].items()}
    assert errors["made lips"] < errors["mouth of the reference"]
    assert errors["nearest seen mouth (knows the answer)"] < errors["mean seen mouth"]
    assert len(report["timing"]) == 5
    assert report["frechet"]["a"]["rows"] == report["frechet"]["b"]["rows"] == 12
    assert report["frechet"]["value"] > 0
    assert sorted(path.name for path in Path("see").iterdir()) == ["50.mp4", "51.mp4", "52.mp4"]
    write_talk(new / "mute.mp4", mouth_frames(2.4, 1), None)
    partly = runner.invoke(main, ["lipsync", "evaluate", str(new), *base])
    assert partly.exit_code == 1
    assert "has no sound" in partly.stderr
    assert runner.invoke(main, ["lipsync", "evaluate", str(new), *base, "-o", "r.txt"]).exit_code == 2
    assert runner.invoke(main, ["lipsync", "generate", "--face", "x.mp4", "--audio", "y", *base]).exit_code == 2
