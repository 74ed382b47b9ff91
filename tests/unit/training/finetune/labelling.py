"""A table of clips whose label shows, and prepared faces of them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.making import TINY

from marlin_sdk.model import Encoder
from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.finetune.data.placing import WindowRule
from marlin_sdk.training.finetune.data.table import LabelledTable, open_table
from marlin_sdk.training.finetune.run import fine_tune
from marlin_sdk.training.finetune.task import Result
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.crops import encode
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import Sample, Shard, end_tar, write_index, write_sample
from marlin_sdk.training.strategy import launch
from marlin_sdk.weights.loading import make_network

SETTINGS: dict[str, Any] = {
    "label": "mood", "epochs": 3, "batch_size": 4, "num_workers": 0, "accelerator": "cpu", "base_lr": 0.05,
    "log_every": 2, "save_every": 100, "patience": 0, "colour": 0.0, "crop_jitter": 0.0,
}  # fmt: skip


def pixels(num_frames: int, level: float, *, seed: int, size_px: int = 32) -> NDArray[np.uint8]:
    """Noise around a grey level, (T, S, S, 3)."""
    random = np.random.default_rng(seed)
    noise = random.normal(0, 12, (num_frames, 4, 4, 3)).repeat(size_px // 4, 1).repeat(size_px // 4, 2)
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def write_faces(
    folder: Path, tracks: Sequence[tuple[str, int, int, NDArray[np.uint8]]], *, fps: float = 25.0, size_px: int = 32
) -> Path:
    """A folder of prepared faces with one shard.

    Args:
        folder: of the data.
        tracks: source, track, first frame, and crops of each sample.
        fps: of all videos.
        size_px: of the crops.
    """
    DataFolder(folder).claim(PrepareConfig(size_px=size_px, parser="none", val_share=0.0))
    path = folder / "shards" / "train-000000.tar"
    path.parent.mkdir(parents=True, exist_ok=True)
    samples: list[Sample] = []
    with path.open("wb") as file:
        for source, track, first, crops in tracks:
            times = tuple(round((first + index) / fps * 1e6) for index in range(len(crops)))
            described = {"id": f"{source}#{track}-{first}", "source": source, "identity": source, "track": track}
            regions = np.zeros((len(crops), size_px // 16, size_px // 16), np.uint8)
            described |= {"first_frame": first, "times_us": times}
            samples.append(write_sample(file, described, regions, encode(crops, 95)))
        num_bytes = end_tar(file)
    write_index(Shard(path, "train", samples, num_bytes))
    return folder


def write_table(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """A CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def clips(
    folder: Path, *, count: int = 24, classes: Sequence[object] = ("calm", "glad"), num_frames: int = 48, **more: Any
) -> tuple[Path, Path]:
    """A table and its prepared faces: clips of different people, whose grey level tells the class.

    Args:
        folder: for both.
        count: number of clips; the last third is the test part.
        classes: of the column `mood`, in turn.
        num_frames: of each clip.
        more: further columns, functions of the clip's number.
    """
    rows, tracks = [], []
    for index in range(count):
        label = classes[index % len(classes)]
        level = 60 + 130 * (index % len(classes)) / max(1, len(classes) - 1)
        tracks.append((f"v{index:02d}.mp4", 0, 0, pixels(num_frames, level, seed=index)))
        rows.append(
            {
                "path": f"videos/v{index:02d}.mp4",
                "id": f"c{index:02d}",
                "mood": label,
                "split": "test" if index >= count * 2 // 3 else "train",
                "group": f"p{index:02d}",
                **{name: make(index) for name, make in more.items()},
            }
        )
    folder.mkdir(parents=True, exist_ok=True)
    return write_table(folder / "clips.csv", rows), write_faces(folder / "faces", tracks)


def opened(table: Path, shards: Path, **settings: Any) -> LabelledTable:
    """The clips, for the tiny model."""
    return open_table(table, shards, plan=WindowRule(**settings), model=TINY)


def run(table: LabelledTable, output: Path, *, resume: bool = False, ratio: float = 1.0, **settings: Any) -> Result:
    """A run of the tiny model from random weights."""
    config = FinetuneConfig.from_dict({**SETTINGS, **settings})
    encoder, identity = make_network(TINY, seed=config.seed, decoder=False)
    assert isinstance(encoder, Encoder)
    return fine_tune(
        config,
        output,
        table=table,
        encoder=encoder,
        start=identity,
        fabric=launch(config, parts_rest=config.opening > 0),
        ratio=ratio,
        resume=resume,
    )
