"""Clips that nothing is learned from, with masks that stay the same for a whole run."""

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

_PICTURED_CLIPS = 4
_PASS = 2**31  # the pass whose masks these are; no training pass gets so far


class HeldOut:
    """Held-out clips, in memory.

    Every process looks at as many batches as the others, blank ones if need be: sharded weights need them all.

    Args:
        dataset: yields the clips, the same in each run; None has none.
        config: how many, and how they are masked.
        rank: of this process.
    """

    def __init__(self, dataset: Dataset | None, config: PretrainConfig, *, rank: int = 0) -> None:
        self._config = config
        self._batches: list[Batch] = []
        if dataset is not None:
            clips = cast("IterableDataset[Mapping[str, Any]]", dataset)
            loader = DataLoader(clips, batch_size=config.batch_size, collate_fn=collate)
            seen = 0
            for items in islice(loader, math.ceil(config.val_clips / config.batch_size)):
                places = range(seen, seen + len(items["clip"]))
                seeds = [mask_seed(config.seed, _PASS, rank, place) for place in places]
                self._batches.append(Batch(items["clip"], masks_for(items, config, seeds)))
                seen = places.stop
        self._passes = max(count for (count,) in gather([len(self._batches)]))

    def __bool__(self) -> bool:
        """Whether any process has a clip."""
        return self._passes > 0

    def loss(self, learner: Learner) -> float:
        """The mean reconstruction loss of all clips of all processes."""
        sums = torch.zeros(2, device=learner.fabric.device, dtype=torch.float64)
        for index in range(self._passes):
            errors = learner.evaluate(self._batch(index))
            if index < len(self._batches):
                sums += torch.stack([errors.double().sum(), torch.tensor(len(errors), device=sums.device).double()])
        total(sums)
        return float(sums[0] / sums[1])

    def picture(self, learner: Learner) -> NDArray[np.uint8]:
        """A contact sheet of the first batch: its clips, what was visible, and what was rebuilt, uint8 (H, W, 3)."""
        batch, model = self._batch(0), self._config.model
        predicted = learner.rebuild(batch).cpu()
        clips, mask = batch.pixels(torch.device("cpu"))
        result = compose(clips, mask, predicted, model, normalised_target=self._config.normalise_target)
        shown = [result[index] for index in range(min(_PICTURED_CLIPS, len(clips)))]
        return contact_sheet(shown, model, frames=(0,))

    def _batch(self, index: int) -> Batch:
        if index < len(self._batches):
            return self._batches[index]
        channels, time, height, width = self._config.model.clip_shape
        mask = torch.zeros(1, self._config.model.num_tokens, dtype=torch.bool)
        mask[:, : self._config.num_visible] = True
        return Batch(torch.zeros(1, time, height, width, channels, dtype=torch.uint8), mask)
