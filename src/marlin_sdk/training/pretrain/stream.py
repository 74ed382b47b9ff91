"""An endless stream of batches whose position can be saved and restored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from marlin_sdk.errors import MarlinError, TrainingError
from marlin_sdk.masking.patterns import REGION_STRATEGIES, make_masks
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.learner import Batch

__all__ = ["BatchStream", "Dataset", "collate", "first_clips", "mask_seed", "masks_for", "too_few_clips"]


class Dataset(Protocol):
    """Yields {"clip": uint8 (16, 224, 224, 3), "regions": uint8 (8, 14, 14), "id": str, ...}, as `ClipDataset` does.

    An `IterableDataset` of batches of the run's size, whose order depends only on its epoch.
    """

    def set_epoch(self, epoch: int, step: int = 0) -> None:
        """Set the epoch of the next iteration, and the batch with which it starts; also in persistent workers."""

    def __iter__(self) -> Iterator[Any]:
        """The clips of an epoch."""


class BatchStream:
    """Batches of clips with their masks, epoch after epoch.

    The contents of a batch depend only on seed, process and position, so a run that resumes in mid-epoch gets the same
    batches as without the interruption.

    Args:
        dataset: see `Dataset`.
        config: batch size, masking, seed, workers.
        rank: of this process; its masks differ from those of others.
    """

    def __init__(self, dataset: Dataset, config: PretrainConfig, *, rank: int = 0) -> None:
        self._dataset = dataset
        self._config = config
        self._rank = rank
        self._loader = self._make_loader()
        self.epoch, self.batch_index = 0, 0

    def seek(self, epoch: int, batch_index: int) -> None:
        """Continue after `batch_index` batches of an epoch; takes effect with the next `__iter__`."""
        self.epoch, self.batch_index = epoch, batch_index

    def __iter__(self) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Batches, and the data set's entries for their clips.

        Raises:
            TrainingError: a whole epoch has less than one batch.
        """
        while True:
            self._dataset.set_epoch(self.epoch, self.batch_index)
            for index, items in enumerate(self._items(), start=self.batch_index):
                self.batch_index = index + 1
                yield self._batch(items, index), items
            if self.batch_index == 0:
                raise too_few_clips(self._config)
            self.epoch, self.batch_index = self.epoch + 1, 0

    def _items(self) -> Iterator[dict[str, Any]]:
        """The batches of the loader; of an error in one of its processes, the reason without the traceback."""
        try:
            yield from self._loader
        except MarlinError as error:
            reason = str(error).strip().splitlines()[-1]
            if not str(error).startswith("Caught "):
                raise
            raise type(error)(reason.partition(f"{type(error).__name__}: ")[2] or reason) from error

    def _make_loader(self) -> DataLoader[Mapping[str, Any]]:
        workers = self._config.num_workers
        return DataLoader(
            cast("IterableDataset[Mapping[str, Any]]", self._dataset),
            batch_size=self._config.batch_size,
            num_workers=workers,
            drop_last=True,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=4 if workers else None,
            persistent_workers=workers > 0,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(self._config.seed),
        )

    def _batch(self, items: Mapping[str, Any], index: int) -> Batch:
        seeds = [
            mask_seed(self._config.seed, self.epoch, self._rank, index * self._config.batch_size + offset)
            for offset in range(len(items["clip"]))
        ]
        return Batch(items["clip"], masks_for(items, self._config, seeds))


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


def mask_seed(*parts: int) -> int:
    """A seed from several integers, unrelated to those of neighbouring integers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack clips and regions; all other entries are lists."""
    stacked = ("clip", "regions")
    out: dict[str, Any] = {key: [item[key] for item in items] for key in items[0] if key not in stacked}
    for key in stacked:
        if items[0].get(key) is not None:
            out[key] = torch.stack([torch.as_tensor(item[key]) for item in items])
    return out
