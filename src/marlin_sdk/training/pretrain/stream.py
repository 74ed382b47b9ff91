"""An endless stream of batches with a place in it that can be saved and found again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from marlin_sdk.errors import TrainingError
from marlin_sdk.masking.patterns import make_masks
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.learner import Batch

__all__ = ["BatchStream", "Dataset", "collate", "mask_seed", "masks_for"]

_REGION_STRATEGIES = ("fasking", "fasking_opp")


class Dataset(Protocol):
    """Yields {"clip": uint8 (16, 224, 224, 3), "regions": uint8 (8, 14, 14), "id": str, ...}, as `training.data` does.

    An `IterableDataset` of batches of the run's size, whose order depends on its epoch alone.
    """

    def set_epoch(self, epoch: int, step: int = 0) -> None:
        """Let the next pass be that of an epoch, from a batch on; workers that outlive a pass must see it too."""

    def __iter__(self) -> Iterator[Any]:
        """The clips of a pass."""


class BatchStream:
    """Batches of clips with their masks, pass after pass.

    What a batch holds depends on the seed, the process and its place alone, so a run that goes on in the middle of a
    pass sees what it would have seen.

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
        """Go on behind so many batches of a pass; takes effect with the next `__iter__`."""
        self.epoch, self.batch_index = epoch, batch_index

    def __iter__(self) -> Iterator[tuple[Batch, dict[str, Any]]]:
        """Batches, and what the data set says of their clips.

        Raises:
            TrainingError: a whole pass gives less than one batch.
        """
        while True:
            self._dataset.set_epoch(self.epoch, self.batch_index)
            for index, items in enumerate(self._loader, start=self.batch_index):
                self.batch_index = index + 1
                yield self._batch(items, index), items
            if self.batch_index == 0:
                raise TrainingError(
                    f"a pass over the training clips gives less than one batch of {self._config.batch_size}; prepare "
                    "more videos, or lower --batch-size"
                )
            self.epoch, self.batch_index = self.epoch + 1, 0

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
            mask_seed(self._config.seed, self.epoch, self._rank, index * self._config.batch_size + place)
            for place in range(len(items["clip"]))
        ]
        return Batch(items["clip"], masks_for(items, self._config, seeds))


def masks_for(items: Mapping[str, Any], config: PretrainConfig, seeds: list[int]) -> Tensor:
    """The masks of a batch, bool (B, N), True where VISIBLE."""
    return make_masks(
        items["regions"] if config.masking in _REGION_STRATEGIES else None,
        strategy=config.masking,
        ratio=config.mask_ratio,
        seeds=seeds,
        grid=config.model.grid,
    )


def mask_seed(*parts: int) -> int:
    """One seed of several whole numbers, far from those of their neighbours."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack clips and regions; keep the rest as lists."""
    stacked = ("clip", "regions")
    out: dict[str, Any] = {key: [item[key] for item in items] for key in items[0] if key not in stacked}
    for key in stacked:
        if items[0].get(key) is not None:
            out[key] = torch.stack([torch.as_tensor(item[key]) for item in items])
    return out
