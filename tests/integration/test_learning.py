"""The benchmark of learning: its tables and intervals, and the whole in small, which a frozen encoder fails."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.learning import MODEL, compare, label_words, last_errors, paired_interval, read_log, verdict
from numpy.typing import NDArray
from tests.making import lay

from marlin_sdk import Marlin
from marlin_sdk.model import MaskedAutoencoder
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.crops import encode
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import Shard, end_tar, write_index, write_sample
from marlin_sdk.training.prepare.split import Split
from marlin_sdk.training.pretrain import run
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.data import ClipDataset
from marlin_sdk.training.pretrain.learner import build_networks
from marlin_sdk.training.pretrain.losses import Discriminator
from marlin_sdk.training.probe import PROBE_COLUMNS, open_labelled

WORDS = b"""id,word,start_s,end_s
bbaf5a,sil,0.0,0.7
bbaf5a,bin,0.7,0.92
bbaf5a,blue,0.92,1.22
bbaf5a,at,1.22,1.4
bbaf5a,f,1.4,1.5
bbaf5a,five,1.5,1.8
bbaf5a,again,1.8,2.2
bbaf5a,sil,2.2,3.0
cut,bin,0.0,0.2
"""


def test_words_become_labelled_frames(tmp_path: Path) -> None:
    words = lay(tmp_path / "words.csv", WORDS)
    splits = lay(tmp_path / "splits.csv", b"source,split\nbbaf5a.mp4,val\ncut.mp4,train\n")
    table = label_words(words, splits, 5, tmp_path / "adverb.csv")
    with table.open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"source": "bbaf5a.mp4", "start_frame": "45", "end_frame": "55", "label": "again", "part": "test"}
        ]


def test_intervals_are_of_the_difference_on_the_same_clips() -> None:
    rng = np.random.default_rng(0)
    before = rng.random(200) < 0.5
    groups = np.arange(200).astype(str)
    assert paired_interval(before, before, groups) == (0, 0)
    low, high = paired_interval(before, before | (rng.random(200) < 0.3), groups)
    assert 0.05 < low < high < 0.25
    low, high = paired_interval(before, rng.random(200) < 0.5, groups)
    assert low < 0 < high
    # Two hundred windows of two clips are two observations.
    better = np.arange(200) < 100
    low, high = paired_interval(np.zeros(200, np.bool_), better, np.where(better, "a", "b"))
    assert (low, high) == (0, 1)


# The whole in small: drawn faces in all kinds of light, whose mouths are open more or less ----------------------------

SIZE = replace(MODEL, encoder_embed_dim=48, encoder_depth=2, decoder_embed_dim=32)
LABELLED = 60  # of the clips to train on


def draw_face(openness: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """16 frames of a face whose mouth moves about a mean openness."""
    y, x = np.mgrid[:32, :32] / 32
    centre_x, centre_y = rng.uniform(0.47, 0.53, 2)
    light, around = (
        np.array([200, 150, 120]) * rng.uniform(0.3, 1.2, 3),
        np.array([60, 90, 160]) * rng.uniform(0.3, 1.5, 3),
    )
    face = np.hypot((x - centre_x) / 0.33, (y - centre_y) / 0.45) < 1
    shade, surroundings = 1.1 - 0.9 * np.hypot(x - centre_x, y - centre_y), 0.5 + 0.7 * np.mod(0.8 * x + 0.5 * y, 1)
    picture = np.where(face[..., None], light * shade[..., None], around * surroundings[..., None])
    phase, frames = rng.uniform(0, 2 * np.pi), []
    for time in range(16):
        height = 0.03 + 0.12 * (openness + 0.25 * np.sin(2 * np.pi * time / 16 + phase))
        mouth = np.hypot((x - centre_x) / 0.16, (y - centre_y - 0.2) / height) < 1
        frames.append(np.where(mouth[..., None], 0.5 * picture, picture))
    return np.stack(frames).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared folder of 240 faces to train on and 480 held out, and a table that labels few of the former."""
    folder = tmp_path_factory.mktemp("faces")
    DataFolder(folder).claim(PrepareConfig(size_px=32, patch_px=8))
    rng = np.random.default_rng(0)
    (folder / "shards").mkdir()
    rows = [",".join(PROBE_COLUMNS)]
    splits: tuple[Split, ...] = ("train", "val")
    for split in splits:
        path = folder / f"shards/{split}-000000.tar"
        with path.open("wb") as file:
            samples = []
            for number in range({"train": 240, "val": 480}[split]):
                name, label = f"{split}{number}.mp4", ("closed", "open")[number % 2]
                told = {"id": f"{name}#0-0", "source": name, "identity": name, "track": 0, "first_frame": 0}
                pixels = encode(draw_face(0.3 if label == "closed" else 0.6, rng), 95)
                samples.append(write_sample(file, told, np.full((16, 4, 4), 2, np.uint8), pixels))
                if split == "val" or number < LABELLED:
                    rows.append(f"{name},0,15,{label},{'train' if split == 'train' else 'test'}")
            num_bytes = end_tar(file)
        write_index(Shard(path, split, samples, num_bytes))
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def learn(faces: Path, folder: Path, steps: int = 120) -> dict[str, Any]:
    """Pretrain on the faces with the online probe; the verdict, and the probe's accuracies in the log."""
    often = {f"{what}_every": steps for what in ("val", "probe", "save", "picture")}
    config = PretrainConfig.from_preset("short", SIZE, max_steps=steps, num_workers=0, accelerator="cpu", **often)
    reading: dict[str, Any] = {"batch_size": config.batch_size, "sample_rate": 1, "seed": config.seed}
    train = ClipDataset(faces, "train", **reading)
    val = ClipDataset(faces, "val", random_start=False, drop_last=False, **reading)
    clips = open_labelled(faces, faces / "labels.csv", sample_rate=1, trained_on=train.identities)
    start = build_networks(config)[0].encoder.eval()
    run.pretrain(config, folder, train=train, val=val, run=run.Run(probe=clips))
    end = Marlin.from_pretrained(folder, device="cpu", detector="lbp").encoder
    rows = compare({"untrained": start, "pretrained": end}, {"mouth": clips}, SIZE)
    lines = [line for line in read_log(folder) if "probe/time" in line]
    probed = [{key: line[key] for key in line if key.startswith("probe/")} for line in lines]
    return {**verdict(rows, last_errors(folder)), "rows": rows, "probed": probed}


def test_pretrained_features_beat_untrained_ones_and_the_log_says_so(faces: Path, tmp_path: Path) -> None:
    found = learn(faces, tmp_path / "run")
    assert "time" in found["better"]
    first, last = found["probed"]
    assert last["probe/time"] > first["probe/time"]
    by_pool = {row["pool"]: row for row in found["rows"]}
    assert by_pool["time"]["untrained"] == pytest.approx(first["probe/time"])
    assert by_pool["time"]["pretrained"] == pytest.approx(last["probe/time"])


def test_frozen_encoder_is_found_out(faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the decoder learns: the probe stands still, and no baseline is beaten."""

    def build_frozen(config: PretrainConfig) -> tuple[MaskedAutoencoder, Discriminator | None]:
        autoencoder, discriminator = build_networks(config)
        autoencoder.encoder.requires_grad_(False)
        return autoencoder, discriminator

    monkeypatch.setattr(run, "build_networks", build_frozen)
    found = learn(faces, tmp_path / "run", steps=20)
    assert found["better"] == []
    assert found["beats"] == []
    first, last = found["probed"]
    assert first == last
    assert all(row["difference"] == (0, 0) for row in found["rows"])
