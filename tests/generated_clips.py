"""Clips to pretrain the tiny model on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset


class GeneratedClips(IterableDataset[Mapping[str, Any]]):
    """Clips of smooth colour for the tiny model, in batches of 4, in an order that depends on the pass alone."""

    def __init__(self, num_clips: int = 12, *, seed: int = 0) -> None:
        self.num_clips, self._seed, self._epoch, self._skipped = num_clips, seed, 0, 0

    def set_epoch(self, epoch: int, step: int = 0) -> None:
        """Take the order of this pass, from a batch of 4 on."""
        self._epoch, self._skipped = epoch, 4 * step

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        for place, index in enumerate(rng.permutation(self.num_clips)):
            coarse = np.random.default_rng((self._seed, int(index))).integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
            clip = coarse.repeat(4, 0).repeat(8, 1).repeat(8, 2)
            regions = rng.integers(1, 1 << 7, (8, 2, 2), dtype=np.uint8)
            if place < self._skipped:
                continue
            yield {
                "clip": torch.from_numpy(clip),
                "regions": torch.from_numpy(regions),
                "id": f"clip-{index}",
                "identity": f"person-{index % 3}",
            }
