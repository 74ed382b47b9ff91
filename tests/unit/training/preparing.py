"""Small folders of prepared faces, written by the same code that `prepare` uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.crops import encode
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import Shard, end_tar, write_index, write_sample
from marlin_sdk.training.prepare.split import Split


def tell_tale(num_frames: int, size_px: int = 32) -> NDArray[np.uint8]:
    """Frames (T, S, S, 3) identified by their grey value: frame k has 4 * k, for up to 63 frames."""
    return np.repeat(np.arange(num_frames, dtype=np.uint8) * 4, size_px * size_px * 3).reshape(-1, size_px, size_px, 3)


def number_of(frame: NDArray[np.uint8]) -> int:
    """The index of such a frame, after WebP."""
    return round(float(frame.mean()) / 4)


def write_shard(path: Path, split: Split | None, people: Mapping[str, int], *, size_px: int = 32) -> Shard:
    """A shard with one sample for each identity, of the given number of frames; regions of frame k hold the byte k."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = size_px // 16
    with path.open("wb") as file:
        samples = []
        for identity, num_frames in people.items():
            description = {"id": f"{identity}.mp4#0-0", "source": f"{identity}.mp4", "identity": identity}
            regions = np.repeat(np.arange(num_frames, dtype=np.uint8), cells * cells).reshape(-1, cells, cells)
            frames = encode(tell_tale(num_frames, size_px), 95)
            samples.append(write_sample(file, {**description, "track": 0, "first_frame": 0}, regions, frames))
        num_bytes = end_tar(file)
    shard = Shard(path, split, samples, num_bytes)
    write_index(shard)
    return shard


def write_data(folder: Path, train: Mapping[str, int], val: Mapping[str, int] | None = None) -> Path:
    """A folder of data with a shard or two."""
    DataFolder(folder).claim(PrepareConfig(size_px=32))
    names = list(train)
    half = len(names) // 2
    for index, part in enumerate((names[:half], names[half:])):
        write_shard(folder / f"shards/train-{index:06d}.tar", "train", {name: train[name] for name in part})
    if val:
        write_shard(folder / "shards/val-000000.tar", "val", val)
    return folder
