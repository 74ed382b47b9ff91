"""Data set of prepared faces: a stream of clips for training."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import torch

from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.masking.patterns import REGION_STRATEGIES
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import Sample, Shard, read_clip, read_regions
from marlin_sdk.training.prepare.split import Split, check_disjoint
from marlin_sdk.training.stream import EpochDataset

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


class ClipDataset(EpochDataset[ClipItem]):
    """Streams clips, each sample once per epoch; for the order see `EpochDataset`.

    Args:
        folder: written by `marlin-sdk prepare`.
        split: "train" or "val".
        batch_size: of the loader.
        seed: of order and starts.
        random_start: start each clip at a random frame of its sample; otherwise clips are centred.
        drop_last: as in `EpochDataset`.
        rank: as in `EpochDataset`.
        world_size: as in `EpochDataset`.
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
        data = DataFolder(Path(folder))
        self.settings = data.settings()
        self._samples = _samples(data, split, clip_frames * sample_rate - sample_rate + 1)
        self._random_start = random_start
        self._steps = np.arange(clip_frames) * sample_rate
        self._tubelet_size = tubelet_size
        super().__init__(
            len(self._samples),
            batch_size=batch_size,
            seed=seed,
            drop_last=drop_last,
            rank=rank,
            world_size=world_size,
        )

    @property
    def identities(self) -> set[str]:
        """Whose faces they show."""
        return {sample.identity for _, sample in self._samples}

    def load(self, index: int, epoch: int) -> ClipItem:
        """The clip of a sample.

        Raises:
            VideoDecodeError: a shard is truncated or damaged.
        """
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
    if settings.parser == "none" and config.masking in REGION_STRATEGIES:
        raise ConfigError(
            f"{folder} was prepared without regions of the face (parser none), which masking {config.masking!r} needs; "
            "prepare it with --parser landmarks, or use masking tube, random or frame"
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
