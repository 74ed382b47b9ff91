"""Windows of shards with their sound: places in time, validity, order, augmentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.making import TINY
from tests.unit.sync.talking import mouth_frames, noise_sound, write_talk

from marlin_sdk.errors import ConfigError, TrainingError
from marlin_sdk.sync.mel import STEPS_PER_S, log_mel
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.run import prepare
from marlin_sdk.training.prepare.sources import find_sources, plan_sources
from marlin_sdk.training.sync.config import SyncTrainConfig
from marlin_sdk.training.sync.data import SyncDataset, collate, open_tracks
from marlin_sdk.training.sync.sounds import SoundFolder, SoundOutcome, describe_left_out
from marlin_sdk.video.sound import read_sound

MODEL = TINY.without_decoder()
CONFIG = SyncTrainConfig(windows=3, batch_size=2, augment=False)
SHARDS: dict[str, Any] = {"size_px": 32, "detector": "lbp", "parser": "none", "min_frames": 16, "min_face_px": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talks")
    (folder / "v").mkdir()
    for seed in range(4):
        start_s = 0.4 if seed == 3 else 0.0
        write_talk(folder / f"v/{seed}.mp4", mouth_frames(2.4, seed), noise_sound(2, seed), sound_start_s=start_s)
    write_talk(folder / "v/mute.mp4", mouth_frames(2.4, 9), None)
    prepare(folder / "v", folder / "shards", PrepareConfig(**SHARDS, fps=25.0, val_share=0.0))
    return folder


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, SoundOutcome]:
    return SoundFolder(folder / "sounds").fill(plan_sources(find_sources([folder / "v"])))


def dataset(folder: Path, outcomes: dict[str, SoundOutcome], **keywords: Any) -> SyncDataset:
    config = keywords.pop("config", CONFIG)
    sounds = SoundFolder(folder / "sounds")
    return SyncDataset(
        folder / "shards", "train", sounds=sounds, outcomes=outcomes, model=MODEL, config=config, **keywords
    )


def test_sound_is_decoded_once_and_again_when_the_file_changes(folder: Path, outcomes: dict[str, SoundOutcome]) -> None:
    assert outcomes["3.mp4"].start_s == pytest.approx(0.4, abs=0.07)  # less what the encoder adds
    assert "1 of 5 videos have no sound to train on" in (describe_left_out(outcomes) or "")
    sounds = SoundFolder(folder / "sounds")
    lines = (folder / "sounds/sounds.jsonl").read_text().splitlines()
    sounds.fill(plan_sources(find_sources([folder / "v"])))
    assert (folder / "sounds/sounds.jsonl").read_text().splitlines() == lines
    expected = log_mel(read_sound(folder / "v/0.mp4"))
    np.testing.assert_allclose(sounds.read(outcomes["0.mp4"]).values, expected.values, atol=2e-3)
    with pytest.raises(TrainingError, match="cannot be read"):
        sounds.read(SoundOutcome("other.mp4", ""))


def test_places_point_at_the_sound_of_the_windows(folder: Path, outcomes: dict[str, SoundOutcome]) -> None:
    data = dataset(folder, outcomes, training=False)
    assert data.num_clips == 4
    for index in range(4):
        item = data.load(index, 0)
        source = item["id"].partition("#")[0]
        whole = SoundFolder(folder / "sounds").read(outcomes[source])
        assert item["clips"].shape[1:] == (16, 32, 32, 3)
        assert item["places"].shape == (31, len(item["clips"]), 8)
        first = item["places"][15, 0, 0]  # shift 0, the first window, which starts at 0 s
        step = round((1 / 25 - outcomes[source].start_s) * STEPS_PER_S)
        if step >= 0:
            np.testing.assert_allclose(item["log_mel"][round(float(first))], whole.values[step], atol=1e-3)
        apart = item["places"].diff(dim=0)
        torch.testing.assert_close(apart, torch.full_like(apart, STEPS_PER_S / 25), rtol=0, atol=1e-4)


def test_shifts_beyond_the_sound_are_not_valid(folder: Path, outcomes: dict[str, SoundOutcome]) -> None:
    data = dataset(folder, outcomes, training=False)
    valid = {data.load(index, 0)["id"].partition("#")[0]: data.load(index, 0)["valid"] for index in range(4)}
    assert valid["0.mp4"][15, 0]
    assert not valid["0.mp4"][:14, 0].any()  # before the file
    assert not valid["0.mp4"][20:, -1].any()  # the sound is 0.4 s shorter
    assert not valid["3.mp4"][15, 0]
    assert valid["3.mp4"][25, 0]  # it starts at 0.4 s


def test_items_depend_only_on_seed_epoch_and_index(folder: Path, outcomes: dict[str, SoundOutcome]) -> None:
    config = CONFIG.but(augment=True)
    one, two = (dataset(folder, outcomes, config=config) for _ in range(2))
    for key in ("clips", "log_mel", "places"):
        first: Any = one.load(1, 2)
        assert torch.equal(first[key], dict(two.load(1, 2))[key])  # type: ignore[arg-type]
    assert not torch.equal(one.load(1, 2)["clips"], one.load(1, 3)["clips"])
    plain = dataset(folder, outcomes).load(1, 2)
    assert torch.equal(plain["places"], one.load(1, 2)["places"])  # augmentation moves nothing in time
    assert not torch.equal(plain["log_mel"], one.load(1, 2)["log_mel"])
    batch = collate([one.load(0, 0), one.load(1, 0)])
    assert batch["clips"].shape == (2, 3, 16, 32, 32, 3)
    assert len(batch["id"]) == 2


def test_shards_that_do_not_fit_are_refused(folder: Path, outcomes: dict[str, SoundOutcome], tmp_path: Path) -> None:
    sounds = SoundFolder(folder / "sounds")
    train, val, about = open_tracks(folder / "shards", sounds, outcomes, MODEL, CONFIG)
    assert train.num_clips == 4
    assert val is None
    assert about.startswith("4 face tracks with sound, 240 frames at 25 a second; 0 tracks held out")
    with pytest.raises(ConfigError, match=r"none has 16 frames and sound"):
        open_tracks(folder / "shards", sounds, {}, MODEL, CONFIG)
    prepare(folder / "v", tmp_path / "slow", PrepareConfig(**SHARDS, fps=12.5, val_share=0.0))
    with pytest.raises(ConfigError, match=r"prepared at 12\.5 frames a second; expected 25: prepare with --fps 25"):
        open_tracks(tmp_path / "slow", sounds, outcomes, MODEL, CONFIG)


@pytest.mark.parametrize(
    "change", [{"windows": 0}, {"base_lr": 0}, {"encoder_lr": -1}, {"betas": [1, 2]}, {"batch_size": 1}, {"augment": 1}]
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(change))):
        SyncTrainConfig.from_dict(change)
    with pytest.raises(ConfigError, match=r"no settings \['other'\]"):
        SyncTrainConfig.from_dict({"other": 1})
