"""`marlin-sdk sync`: a tiny network learns from generated talks, and says of new files what is off, and who speaks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.sync import Answer, move_sound, summarise
from click.testing import CliRunner
from numpy.typing import NDArray
from tests.making import TINY, write_checkpoint
from tests.unit.sync.talking import mouth_frames, noise_sound, write_talk

from marlin_sdk import Marlin
from marlin_sdk.cli.main import main
from marlin_sdk.errors import ConfigError, NoFaceError, NoSoundError, TrainingError, WeightsError
from marlin_sdk.face.detections import Detections
from marlin_sdk.sync.files import load_sync
from marlin_sdk.sync.scorer import SyncScorer
from marlin_sdk.training.start import Start
from marlin_sdk.training.sync.config import SyncTrainConfig
from marlin_sdk.training.sync.run import train_sync
from marlin_sdk.training.sync.task import SyncResult

SETTINGS: dict[str, Any] = {
    "dim": 8, "channels": 16, "depth": 2, "batch_size": 8, "windows": 2, "base_lr": 0.3, "encoder_lr": 1.0,
    "accelerator": "cpu", "val_every": 50, "save_every": 50,
}  # fmt: skip
STEADY: dict[str, Any] = {**SETTINGS, "warmup": 0.0, "base_lr": 0.1, "base_min_lr": 0.1, "batch_size": 4}
TALK = mouth_frames(3, 99), noise_sound(3, 99)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten talks, one of them without sound, and a tiny encoder."""
    folder = tmp_path_factory.mktemp("sync")
    (folder / "videos").mkdir()
    for seed in range(10):
        write_talk(folder / "videos" / f"talk{seed}.mp4", mouth_frames(3, seed), noise_sound(3, seed))
    write_talk(folder / "videos" / "mute.mp4", mouth_frames(3, 77), None)
    write_checkpoint(folder / "encoder", Marlin.untrained(TINY, device="cpu", detector="lbp"))
    return folder


def train(folder: Path, run: str, settings: dict[str, Any], **keywords: Any) -> SyncResult:
    """A run over the talks."""
    config = SyncTrainConfig(**settings)
    start = Start(str(folder / "encoder"))
    return train_sync([folder / "videos"], folder / run, config, start=start, detector="lbp", val_share=0.3, **keywords)


@pytest.fixture(scope="module")
def trained(folder: Path) -> SyncResult:
    torch.set_num_threads(2)
    return train(folder, "run", {**SETTINGS, "max_steps": 100})


@pytest.fixture(scope="module")
def scorer(trained: SyncResult) -> SyncScorer:
    return SyncScorer.from_folder(trained.folder, detector="lbp", device="cpu")


def test_training_finds_the_held_out_talks_in_time_and_names_what_is_left_out(trained: SyncResult) -> None:
    assert trained.metrics["within_1"] == 1
    assert trained.metrics["error_ms"] <= 20
    assert trained.metrics["distance"] < trained.metrics["other_distance"]
    assert "1 of 11 videos have no sound to train on (the first:" in trained.notes[0]
    facts = json.loads((trained.folder / "sync.json").read_text())
    assert facts["max_distance"] == trained.metrics["other_distance"]
    assert " face tracks with sound, 75 frames" not in facts["data"]


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(
    ("times", "late_ms"),
    [({}, 0), ({"sound_start_s": 0.2}, 200), ({"picture_start_s": 0.32}, -320)],
)  # fmt: skip
def test_a_file_put_out_of_time_by_its_container_scores_as_players_play_it(
    scorer: SyncScorer, tmp_path: Path, times: dict[str, float], late_ms: float, suffix: str
) -> None:
    path = write_talk(tmp_path / f"talk.{suffix}", *TALK, **times)  # type: ignore[arg-type]
    if suffix == "mp4" and times:
        assert b"elst" in path.read_bytes()
    score = scorer.score(path)
    assert score.best is not None
    assert score.best.reading is not None
    assert score.best.reading.offset_ms == pytest.approx(late_ms, abs=30)
    assert score.speaker == score.best.track_id


@pytest.mark.parametrize(("rate", "layout"), [(8000, "mono"), (44_100, "stereo"), (96_000, "stereo")])
def test_rate_and_channels_change_little(scorer: SyncScorer, tmp_path: Path, rate: int, layout: str) -> None:
    sound = noise_sound(3, 99, rate)
    path = write_talk(tmp_path / "talk.mkv", TALK[0], sound, rate=rate, layout=layout, codec="pcm_s16le")
    best = scorer.score(path).best
    assert best is not None
    assert best.reading is not None
    assert best.reading.offset_ms == pytest.approx(0, abs=40)


def test_sound_of_another_talk_gives_no_answer(scorer: SyncScorer, tmp_path: Path) -> None:
    others = [scorer.score(write_talk(tmp_path / "x.mp4", TALK[0], noise_sound(3, seed))) for seed in range(200, 208)]
    unsure = [score for score in others if score.speaker is None]
    assert len(unsure) >= 6
    assert "no answer: the lips of no face fit the sound" in unsure[0].verdict()
    assert unsure[0].to_dict()["speaker"] is None


def test_music_gives_no_answer(scorer: SyncScorer, tmp_path: Path) -> None:
    time_s = np.arange(48_000) / 16_000
    chord = sum(0.1 * np.sin(2 * np.pi * hz * time_s) for hz in (220.0, 277.2, 329.6))
    score = scorer.score(write_talk(tmp_path / "music.mp4", TALK[0], np.asarray(chord, dtype=np.float32)))
    assert score.speaker is None


def test_silence_no_sound_no_face_and_short_videos_are_refused(scorer: SyncScorer, tmp_path: Path) -> None:
    silent = write_talk(tmp_path / "silent.mp4", TALK[0], np.zeros(48_000, np.float32))
    with pytest.raises(NoSoundError, match=r"its sound is silent throughout \(3\.0 s"):
        scorer.score(silent)
    with pytest.raises(NoSoundError, match="has no sound that can be decoded"):
        scorer.score(write_talk(tmp_path / "mute.mp4", TALK[0], None))
    grey = np.full((75, 64, 96, 3), 90, dtype=np.uint8)
    with pytest.raises(NoFaceError, match="none of 15 windows shows one face"):
        scorer.score(write_talk(tmp_path / "grey.mp4", grey, TALK[1]))
    with pytest.raises(NoFaceError, match="a window has 16 frames at 25 a second"):
        scorer.score(write_talk(tmp_path / "short.mp4", TALK[0][:10], TALK[1]))
    with pytest.raises(ConfigError, match=r"expected at least 1, 1 and 0\.64"):
        scorer.score(silent, part_s=0.1)


def test_sound_shorter_than_the_picture_is_scored_where_it_is(scorer: SyncScorer, tmp_path: Path) -> None:
    score = scorer.score(write_talk(tmp_path / "cut.mp4", TALK[0], TALK[1][:32_000]))
    assert "the sound ends at 2.0" in score.warnings[-1]
    assert score.best is not None
    assert score.best.reading is not None
    assert score.best.reading.offset_ms == pytest.approx(0, abs=40)
    late = write_talk(tmp_path / "late.mp4", TALK[0], TALK[1][:4000], sound_start_s=2.9)
    assert scorer.score(late).verdict() == "no face is shown while there is sound"


def test_drift_is_found_over_time(scorer: SyncScorer, tmp_path: Path) -> None:
    frames, sound = mouth_frames(16, 5), noise_sound(16, 5)
    slower = np.interp(np.arange(int(len(sound) * 1.02)) / 1.02, np.arange(len(sound)), sound).astype(np.float32)
    (track,) = scorer.score(write_talk(tmp_path / "drift.mkv", frames, slower, codec="pcm_s16le"), part_s=2.4).tracks
    assert len(track.parts) >= 6
    assert track.parts[-1].offset_ms > track.parts[0].offset_ms + 100
    assert track.drift_ms_per_min == pytest.approx(1200, rel=0.4)


class TwoFaces:
    """A detector that knows where two faces are."""

    name = "two"

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [Detections.from_rows([[16, 16, 48, 48], [80, 16, 112, 48]], [0.9, 0.8]) for _ in frames]


def test_who_speaks_is_the_face_in_time(trained: SyncResult, tmp_path: Path) -> None:
    both = np.full((75, 144, 256, 3), 160, dtype=np.uint8)
    both[:, 16:48, 16:48], both[:, 16:48, 80:112] = mouth_frames(3, 50), TALK[0]
    score = SyncScorer.from_folder(trained.folder, detector=TwoFaces(), device="cpu").score(
        write_talk(tmp_path / "two.mp4", both, TALK[1])
    )
    left = score.tracks[0]
    assert left.start_s == 0
    assert left.windows == 15
    assert not score.is_sure(left.reading)
    assert score.best is not None
    assert score.best.reading is not None
    assert score.speaker == score.best.track_id != left.track_id
    assert score.best.reading.offset_ms == pytest.approx(0, abs=40)


@pytest.mark.long
def test_a_run_resumes_to_the_bit(folder: Path) -> None:
    train(folder, "whole", {**STEADY, "max_steps": 6, "save_every": 3, "val_every": 3})
    train(folder, "half", {**STEADY, "max_steps": 3, "save_every": 3, "val_every": 3})
    resumed = train(folder, "half", {**STEADY, "max_steps": 6, "save_every": 3, "val_every": 3}, resume=True)
    assert resumed.step == 6
    states = [torch.load(folder / run / "checkpoints/last.ckpt")["state_dict"] for run in ("whole", "half")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    with pytest.raises(ConfigError, match="these differ: dim 8 then, 16 now"):
        train(folder, "half", {**STEADY, "dim": 16}, resume=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        train(folder, "half", STEADY)


def test_a_loss_that_is_not_finite_stops_the_run(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"step \d+ stopped.*not finite.*bad-batch.*lower base_lr"):
        train(folder, "burnt", {**STEADY, "base_lr": 1e38, "base_min_lr": 1e38, "max_steps": 20, "clip_norm": None})
    assert list((folder / "burnt").glob("bad-batch-*.pt"))


def test_videos_without_sound_cannot_be_trained_on(folder: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for seed in range(2):
        write_talk(videos / f"{seed}.mp4", mouth_frames(3, seed), None)
    with pytest.raises(ConfigError, match="none of 2 videos has sound to train on"):
        train_sync([videos], tmp_path / "run", SyncTrainConfig(**SETTINGS), start=Start(str(folder / "encoder")),
                   detector="lbp", val_share=0.5)  # fmt: skip


def test_a_model_that_was_changed_is_refused(trained: SyncResult, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("sync.json", "sync.safetensors"):
        shutil.copy(trained.folder / name, copy / name)
    network, facts = load_sync(copy)
    assert facts.step in (50, 100)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    data = bytearray((copy / "sync.safetensors").read_bytes())
    data[-1] ^= 1
    (copy / "sync.safetensors").write_bytes(data)
    with pytest.raises(WeightsError, match="is not the file that"):
        load_sync(copy)
    (copy / "sync.json").write_text('{"format": 1')
    with pytest.raises(WeightsError, match="cannot be read"):
        load_sync(copy)
    with pytest.raises(ConfigError, match=r"holds no model of marlin-sdk sync train"):
        load_sync(tmp_path)


def test_command_trains_and_scores(folder: Path, trained: SyncResult, tmp_path: Path) -> None:
    videos = tmp_path / "new"
    videos.mkdir()
    write_talk(videos / "late.mp4", *TALK, sound_start_s=0.2)
    write_talk(videos / "mute.mp4", TALK[0], None)
    runner = CliRunner()
    base = ["sync", "score", "--model", str(trained.folder), "--detector", "lbp", "--device", "cpu"]
    one = runner.invoke(main, [*base, str(videos / "late.mp4"), "-o", "late.json", "-o", "late.png"])
    assert one.exit_code == 0, one.output
    assert "ms late, confidence" in one.stdout
    (found,) = json.loads(Path("late.json").read_text())
    assert found["tracks"][0]["offset_ms"] == pytest.approx(200, abs=30)
    assert len(found["tracks"][0]["curve"]) == len(found["shifts"]) == 31
    assert Path("late.png").read_bytes().startswith(b"\x89PNG")
    both = runner.invoke(main, [*base, str(videos), "-o", "-"])
    assert both.exit_code == 1
    assert json.loads(both.stdout)["id"] == "late"
    assert "has no sound" in both.stderr
    assert "1 of 2 videos done, 1 failed" in both.stderr
    for refused in (
        [*base, str(videos), "-o", "two.png"],
        [*base, str(videos), "-o", "x.txt"],
        [*base[:2], str(videos)],
    ):
        assert runner.invoke(main, refused).exit_code == 2
    options = ["--model", str(folder / "encoder"), "--detector", "lbp", "--val-share", "0.2", "--accelerator", "cpu"]
    again = runner.invoke(
        main,
        ["sync", "train", str(folder / "videos"), "-o", "small", *options, "--max-steps", "1", "--batch-size", "2"],
    )
    assert again.exit_code == 0, again.output
    assert "1 steps done, loss" in again.stderr
    assert "have no sound to train on" in again.stderr


@pytest.mark.parametrize("moved_ms", [120.0, -200.0])
def test_benchmark_moves_the_sound_of_a_copy(scorer: SyncScorer, tmp_path: Path, moved_ms: float) -> None:
    source = write_talk(tmp_path / "talk.mp4", *TALK)
    best = scorer.score(move_sound(source, tmp_path / "moved.mp4", moved_ms)).best
    assert best is not None
    assert best.reading is not None
    assert best.reading.offset_ms == pytest.approx(moved_ms, abs=30)


def test_benchmark_counts_what_is_within_a_frame() -> None:
    answers = [Answer("a", 80.0, 100.0, 0.3, True, -400.0), Answer("b", -40.0, 30.0, 0.1, False, -40.0)]
    found = summarise(answers)
    assert found["model"]["within a frame"] == found["naive"]["within a frame"] == 0.5
    assert found["model"]["median error, ms"] == 45
    assert found["model"]["interval"] == pytest.approx([0.0126, 0.9874], abs=1e-4)
    assert found["sure"] == 0.5
