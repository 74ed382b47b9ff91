"""Data set of prepared faces: a stream of clips for training."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import Sample, Shard, read_clip, read_regions
from marlin_sdk.training.prepare.split import Split, check_disjoint

if TYPE_CHECKING:
    from marlin_sdk.training.pretrain.config import PretrainConfig

__all__ = ["ClipDataset", "ClipItem", "open_clips"]


class ClipItem(TypedDict):
    """One clip.

    Attributes:
        clip: uint8 (16, 224, 224, 3), RGB.
        regions: uint8 (8, 14, 14), the regions of each token's first frame: see `region_bits`.
        id: of its sample.
        identity: whose face.
        start: index of its first frame in the sample.
    """

    clip: torch.Tensor
    regions: torch.Tensor
    id: str
    identity: str
    start: int


class ClipDataset(IterableDataset[ClipItem]):
    """Streams clips, each sample once per epoch, in an order that depends only on seed and epoch.

    An epoch is divided into global batches of `world_size * batch_size` clips. Worker w of n yields the batches w,
    w + n, ..., the order in which a `DataLoader` consumes them; so the order of clips does not depend on the number of
    workers, and a job can resume in mid-epoch with `set_epoch(epoch, step)`, without reading the batches before.

    Args:
        folder: written by `marlin-sdk prepare`.
        split: "train" or "val".
        batch_size: of the loader.
        seed: of order and starts.
        random_start: start each clip at a random frame of its sample; otherwise clips are centred.
        drop_last: drop the last incomplete global batch, so that every process has the same number of batches.
        rank: of this process; by default that of torch.distributed, if initialised, at the start of an epoch.
        world_size: number of processes; default as for `rank`.
        clip_frames: frames of a clip.
        sample_rate: source frames from one frame of a clip to the next.
        tubelet_size: frames of a token.
    Raises:
        ConfigError: no data, none in this split, an identity in both splits, or no sample long enough for a clip.
        VideoDecodeError: a shard is missing or truncated.
    """

    def __init__(
        self,
        folder: str | Path,
        split: Split = "train",
        *,
        batch_size: int = 1,
        seed: int = 0,
        random_start: bool = True,
        drop_last: bool = True,
        rank: int | None = None,
        world_size: int | None = None,
        clip_frames: int = 16,
        sample_rate: int = 2,
        tubelet_size: int = 2,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected at least 1")
        if (rank is None) != (world_size is None) or (rank is not None and not 0 <= rank < (world_size or 0)):
            raise ConfigError(f"rank {rank} of world_size {world_size}: pass both, rank below world_size, or neither")
        data = DataFolder(Path(folder))
        self.settings = data.settings()
        self._samples = _samples(data, split, clip_frames * sample_rate - sample_rate + 1)
        self._batch_size, self._seed = batch_size, seed
        self._random_start, self._drop_last = random_start, drop_last
        self._process = None if rank is None or world_size is None else (rank, world_size)
        self._steps = np.arange(clip_frames) * sample_rate
        self._tubelet_size = tubelet_size
        # In shared memory, so that persistent workers see it too: epoch, step, rank, world size.
        self._position = torch.zeros(4, dtype=torch.int64)
        self._position.share_memory_()  # type: ignore[no-untyped-call]
        self.set_epoch(0)

    @property
    def num_clips(self) -> int:
        """Clips of one epoch, of all processes together."""
        return len(self._samples)

    @property
    def identities(self) -> set[str]:
        """Whose faces they show."""
        return {sample.identity for _, sample in self._samples}

    @property
    def num_batches(self) -> int:
        """Batches of one epoch for this process."""
        return self._count_batches(self._this_process()[1])

    def __len__(self) -> int:
        """Clips of one whole epoch for this process."""
        rank, world_size = self._this_process()
        if self._drop_last:
            return self.num_batches * self._batch_size
        return len(range(rank, self.num_clips, world_size))

    def set_epoch(self, epoch: int, step: int = 0) -> None:
        """Set the epoch of the next iteration, and the batch with which it starts.

        Args:
            epoch: from 0.
            step: number of batches of this process to skip.
        """
        if epoch < 0 or step < 0:
            raise ConfigError(f"epoch and step are at least 0; got {epoch} and {step}")
        self._position.copy_(torch.tensor([epoch, step, *self._this_process()]))

    def __iter__(self) -> Iterator[ClipItem]:
        """The clips of an epoch.

        Raises:
            VideoDecodeError: a shard is truncated or damaged.
        """
        worker = get_worker_info()
        if worker is None:
            self._position[2:] = torch.tensor(self._this_process())
        epoch, step, rank, world_size = (int(value) for value in self._position)
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        order = np.random.default_rng([self._seed, epoch]).permutation(self.num_clips)
        for batch in range(step + number, self._count_batches(world_size), workers):
            begin = batch * world_size * self._batch_size
            for position in range(begin + rank, min(begin + world_size * self._batch_size, len(order)), world_size):
                yield self._load_clip(int(order[position]), epoch)

    def _count_batches(self, world_size: int) -> int:
        full, remainder = divmod(self.num_clips, self._batch_size * world_size)
        return full + bool(remainder and not self._drop_last)

    def _load_clip(self, index: int, epoch: int) -> ClipItem:
        shard, sample = self._samples[index]
        num_starts = sample.num_frames - int(self._steps[-1])
        rng = np.random.default_rng([self._seed, epoch, index])
        start = int(rng.integers(num_starts)) if self._random_start else (num_starts - 1) // 2
        frames = start + self._steps
        regions = read_regions(shard, sample)[frames[:: self._tubelet_size]]
        pixels = read_clip(shard, sample, frames.tolist())
        size_px, cells = self.settings.size_px, self.settings.size_px // self.settings.patch_px
        if pixels.shape[1:3] != (size_px, size_px) or regions.shape[1:] != (cells, cells):
            raise VideoDecodeError(
                f"sample {sample.id!r} of shard {shard.path} has crops of {pixels.shape[1:3]} and regions of "
                f"{regions.shape[1:]}; expected {size_px} pixels in {cells} cells: prepare the data again"
            )
        return ClipItem(
            clip=torch.from_numpy(pixels),
            regions=torch.from_numpy(regions),
            id=sample.id,
            identity=sample.identity,
            start=start,
        )

    def _this_process(self) -> tuple[int, int]:
        if self._process is not None:
            return self._process
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


def open_clips(folder: str | Path, config: PretrainConfig) -> tuple[ClipDataset, ClipDataset | None, str]:
    """Open the clips for a pretraining run.

    Args:
        folder: written by `marlin-sdk prepare`.
        config: of the run.
    Returns:
        Training clips, held-out clips (None if the data has none), and a description of them in one sentence.
    Raises:
        ConfigError: see `ClipDataset`, or crops or tokens of another size than the model's.
        VideoDecodeError: a shard is missing or truncated.
    """
    model = config.model
    data = DataFolder(Path(folder))
    settings = data.settings()
    if (settings.size_px, settings.patch_px) != (model.img_size, model.patch_size):
        raise ConfigError(
            f"{folder} holds crops of {settings.size_px} pixels with regions in cells of {settings.patch_px}; the "
            f"model takes {model.img_size} and {model.patch_size}: prepare with --size {model.img_size} --patch-size "
            f"{model.patch_size}"
        )
    opened = partial(
        ClipDataset,
        folder,
        batch_size=config.batch_size,
        seed=config.seed,
        clip_frames=model.n_frames,
        tubelet_size=model.tubelet_size,
    )
    train = opened("train")
    shards = data.shards()
    held_out = any(shard.split == "val" for shard in shards)
    val = opened("val", random_start=False, drop_last=False) if held_out else None
    samples = [sample for shard in shards for sample in shard.samples]
    about = (
        f"{len(samples)} face tracks of {len({sample.identity for sample in samples})} identities from "
        f"{len({sample.source for sample in samples})} videos, {sum(sample.num_frames for sample in samples)} frames; "
        f"{val.num_clips if val else 0} tracks held out, by identity. Faces found by {Path(settings.detector).name}, "
        f"face regions by {settings.parser.partition(':')[0]}."
    )
    return train, val, about


def _samples(data: DataFolder, split: Split, min_frames: int) -> list[tuple[Shard, Sample]]:
    shards = data.shards()
    check_disjoint((sample.identity, str(shard.split), str(shard.path)) for shard in shards for sample in shard.samples)
    selected = [shard for shard in shards if shard.split == split]
    if not selected:
        found = ", ".join(sorted({str(shard.split) for shard in shards})) or "nothing"
        raise ConfigError(f"{data.path} holds no {split!r} shards, only {found}; prepare it with marlin-sdk prepare")
    for shard in selected:
        shard.check_size()
    long_enough = [(shard, sample) for shard in selected for sample in shard.samples if sample.num_frames >= min_frames]
    if not long_enough:
        raise ConfigError(f"no {split!r} sample of {data.path} has the {min_frames} frames that a clip spans")
    return sorted(long_enough, key=lambda pair: pair[1].id)  # so that the order does not depend on the packing
