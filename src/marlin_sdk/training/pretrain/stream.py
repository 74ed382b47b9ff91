"""The batches of pretraining: clips with their masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from marlin_sdk.errors import TrainingError
from marlin_sdk.masking.patterns import REGION_STRATEGIES, make_masks
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.stream import Dataset, Stream, seed_of

__all__ = ["BatchStream", "collate", "first_clips", "masks_for", "too_few_clips"]


class BatchStream(Stream):
    """Batches of clips with their masks, epoch after epoch.

    The contents of a batch depend only on seed, process and position.

    Args:
        dataset: yields {"clip": uint8 (16, 224, 224, 3), "regions": uint8 (8, 14, 14), "id": str, ...}, as
            `ClipDataset` does.
        config: batch size, masking, seed, workers.
        rank: of this process; its masks differ from those of others.
    """

    def __init__(self, dataset: Dataset, config: PretrainConfig, *, rank: int = 0) -> None:
        super().__init__(
            dataset,
            batch_size=config.batch_size,
            num_workers=config.num_workers,
            seed=config.seed,
            collate=collate,
            too_few=partial(too_few_clips, config),
        )
        self._config, self._rank = config, rank

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The data set's entries for the clips of a batch, and under "mask" bool (B, N), True where VISIBLE."""
        for items in super().__iter__():
            first = (self.batch_index - 1) * self._config.batch_size
            seeds = [
                seed_of(self._config.seed, self.epoch, self._rank, first + offset)
                for offset in range(len(items["clip"]))
            ]
            yield {**items, "mask": masks_for(items, self._config, seeds)}


def too_few_clips(config: PretrainConfig) -> TrainingError:
    """The error of a data set without a batch."""
    return TrainingError(
        f"an epoch of the training clips has less than one batch of {config.batch_size}; prepare more videos, or lower "
        "--batch-size"
    )


def first_clips(dataset: Dataset, count: int) -> Iterator[Tensor]:
    """The first clips of epoch 0 of this process, uint8 (16, 224, 224, 3), at most `count` of them.

    Read in this process, not by the loader's workers. The data set stays at epoch 0, and a `BatchStream` over it sets
    its own position when its iteration starts: iterate this first.
    """
    dataset.set_epoch(0)
    for item in islice(iter(dataset), count):
        yield torch.as_tensor(item["clip"])


def masks_for(items: Mapping[str, Any], config: PretrainConfig, seeds: list[int]) -> Tensor:
    """The masks of a batch, bool (B, N), True where VISIBLE."""
    return make_masks(
        items["regions"] if config.masking in REGION_STRATEGIES else None,
        strategy=config.masking,
        ratio=config.mask_ratio,
        seeds=seeds,
        grid=config.model.grid,
    )


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack clips and regions; all other entries are lists."""
    stacked = ("clip", "regions")
    out: dict[str, Any] = {key: [item[key] for item in items] for key in items[0] if key not in stacked}
    for key in stacked:
        if items[0].get(key) is not None:
            out[key] = torch.stack([torch.as_tensor(item[key]) for item in items])
    return out
