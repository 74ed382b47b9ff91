"""An endless stream of batches whose position can be saved and restored."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from marlin_sdk.errors import ConfigError, MarlinError, TrainingError

__all__ = ["Dataset", "EpochDataset", "Stream", "seed_of"]

T_co = TypeVar("T_co", covariant=True)


class Dataset(Protocol):
    """An `IterableDataset` of batches of the run's size, whose order depends only on its epoch."""

    def set_epoch(self, epoch: int, step: int = 0) -> None:
        """Set the epoch of the next iteration, and the batch with which it starts; also in persistent workers."""

    def __iter__(self) -> Iterator[Any]:
        """The items of an epoch."""


class EpochDataset(IterableDataset[T_co], Generic[T_co]):
    """Streams items, each once per epoch, in an order that depends only on seed and epoch.

    An epoch is divided into global batches of `world_size * batch_size` items. Worker w of n yields the batches w,
    w + n, ..., the order in which a `DataLoader` consumes them; so the order of items does not depend on the number of
    workers, and a job can resume in mid-epoch with `set_epoch(epoch, step)`, without reading the batches before.

    Args:
        num_clips: items of an epoch, of all processes together.
        batch_size: of the loader.
        seed: of the order.
        drop_last: drop the last incomplete global batch, so that every process has the same number of batches.
        rank: of this process; by default that of torch.distributed, if initialised, at the start of an epoch.
        world_size: number of processes; default as for `rank`.
    Raises:
        ConfigError: a batch without items, or a rank outside of the world.
    """

    def __init__(
        self,
        num_clips: int,
        *,
        batch_size: int,
        seed: int,
        drop_last: bool,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; expected at least 1")
        if (rank is None) != (world_size is None) or (rank is not None and not 0 <= rank < (world_size or 0)):
            raise ConfigError(f"rank {rank} of world_size {world_size}: pass both, rank below world_size, or neither")
        self.num_clips = num_clips
        self._batch_size, self._seed, self._drop_last = batch_size, seed, drop_last
        self._process = None if rank is None or world_size is None else (rank, world_size)
        # In shared memory, so that persistent workers see it too: epoch, step, rank, world size.
        self._position = torch.zeros(4, dtype=torch.int64)
        self._position.share_memory_()  # type: ignore[no-untyped-call]
        self.set_epoch(0)

    @property
    def num_batches(self) -> int:
        """Batches of one epoch for this process."""
        return self._count_batches(self._this_process()[1])

    def __len__(self) -> int:
        """Items of one whole epoch for this process."""
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

    def __iter__(self) -> Iterator[T_co]:
        """The items of an epoch.

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
                yield self.load(int(order[position]), epoch)

    @abstractmethod
    def load(self, index: int, epoch: int) -> T_co:
        """The item of an index in an epoch."""

    def _count_batches(self, world_size: int) -> int:
        full, remainder = divmod(self.num_clips, self._batch_size * world_size)
        return full + bool(remainder and not self._drop_last)

    def _this_process(self) -> tuple[int, int]:
        if self._process is not None:
            return self._process
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1


class Stream:
    """Batches of a data set, epoch after epoch.

    What is read depends only on the data set and the position, so a run that resumes in mid-epoch gets the same batches
    as without the interruption.

    Attributes:
        epoch: of the last batch.
        batch_index: batches of that epoch so far.

    Args:
        dataset: see `Dataset`.
        batch_size: items of a batch.
        num_workers: data loader processes.
        seed: of the loader.
        collate: makes a batch of items.
        too_few: makes the error of an epoch without a batch.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int,
        num_workers: int,
        seed: int,
        collate: Callable[[Sequence[Mapping[str, Any]]], dict[str, Any]],
        too_few: Callable[[], TrainingError],
    ) -> None:
        self._dataset, self._too_few = dataset, too_few
        self._loader: DataLoader[Mapping[str, Any]] = DataLoader(
            cast("IterableDataset[Mapping[str, Any]]", dataset),
            batch_size=batch_size,
            num_workers=num_workers,
            drop_last=True,
            pin_memory=torch.cuda.is_available(),
            prefetch_factor=4 if num_workers else None,
            persistent_workers=num_workers > 0,
            collate_fn=collate,
            generator=torch.Generator().manual_seed(seed),
        )
        self.epoch, self.batch_index = 0, 0

    def seek(self, epoch: int, batch_index: int) -> None:
        """Continue after `batch_index` batches of an epoch; takes effect with the next `__iter__`."""
        self.epoch, self.batch_index = epoch, batch_index

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Collated batches.

        Raises:
            TrainingError: a whole epoch has less than one batch.
        """
        while True:
            self._dataset.set_epoch(self.epoch, self.batch_index)
            for index, items in enumerate(self._items(), start=self.batch_index):
                self.batch_index = index + 1
                yield items
            if self.batch_index == 0:
                raise self._too_few()
            self.epoch, self.batch_index = self.epoch + 1, 0

    def _items(self) -> Iterator[dict[str, Any]]:
        """The batches of the loader; of an error in one of its processes, the reason without the traceback."""
        try:
            yield from cast("Iterator[dict[str, Any]]", self._loader)
        except MarlinError as error:
            reason = str(error).strip().splitlines()[-1]
            if not str(error).startswith("Caught "):
                raise
            raise type(error)(reason.partition(f"{type(error).__name__}: ")[2] or reason) from error


def seed_of(*parts: int) -> int:
    """A seed from several integers, unrelated to those of neighbouring integers."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
