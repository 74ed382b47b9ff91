"""Validation on held-out clips, with masks that are fixed for a whole run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from marlin_sdk.reconstruction import compose, contact_sheet
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.learner import Batch, Learner
from marlin_sdk.training.pretrain.stream import Dataset, collate, mask_seed, masks_for
from marlin_sdk.training.strategy import gather, total

__all__ = ["HeldOut"]

_MAX_PICTURED_CLIPS = 4
_MASK_EPOCH = 2**31  # the epoch in the seeds of the masks; no training run reaches it


class HeldOut:
    """Held-out clips, in memory.

    All processes evaluate the same number of batches, blank ones if necessary: sharded weights require it.

    Args:
        dataset: yields the clips, the same in each run; None for no clips.
        config: their number and masking.
        rank: of this process.
    """

    def __init__(self, dataset: Dataset | None, config: PretrainConfig, *, rank: int = 0) -> None:
        self._config = config
        self._batches: list[Batch] = []
        if dataset is not None:
            clips = cast("IterableDataset[Mapping[str, Any]]", dataset)
            loader = DataLoader(clips, batch_size=config.batch_size, collate_fn=collate)
            num_clips = 0
            for items in islice(loader, math.ceil(config.val_clips / config.batch_size)):
                indices = range(num_clips, num_clips + len(items["clip"]))
                seeds = [mask_seed(config.seed, _MASK_EPOCH, rank, index) for index in indices]
                self._batches.append(Batch(items["clip"], masks_for(items, config, seeds)))
                num_clips = indices.stop
        self._num_batches = max(count for (count,) in gather([len(self._batches)]))

    def __bool__(self) -> bool:
        """Whether any process has a clip."""
        return self._num_batches > 0

    def loss(self, learner: Learner) -> float:
        """The mean reconstruction loss of all clips of all processes."""
        sums = torch.zeros(2, device=learner.fabric.device, dtype=torch.float64)
        for index in range(self._num_batches):
            errors = learner.evaluate(self._batch(index))
            if index < len(self._batches):
                sums += torch.stack([errors.double().sum(), torch.tensor(len(errors), device=sums.device).double()])
        total(sums)
        return float(sums[0] / sums[1])

    def picture(self, learner: Learner) -> NDArray[np.uint8]:
        """A contact sheet of the first batch: its clips, masked and reconstructed, uint8 (H, W, 3)."""
        batch, model = self._batch(0), self._config.model
        predicted = learner.reconstruct(batch).cpu()
        clips, mask = batch.pixels(torch.device("cpu"))
        result = compose(clips, mask, predicted, model, normalised_target=self._config.normalise_target)
        shown = [result[index] for index in range(min(_MAX_PICTURED_CLIPS, len(clips)))]
        return contact_sheet(shown, model, frames=(0,))

    def _batch(self, index: int) -> Batch:
        if index < len(self._batches):
            return self._batches[index]
        channels, time, height, width = self._config.model.clip_shape
        mask = torch.zeros(1, self._config.model.num_tokens, dtype=torch.bool)
        mask[:, : self._config.num_visible] = True
        return Batch(torch.zeros(1, time, height, width, channels, dtype=torch.uint8), mask)
