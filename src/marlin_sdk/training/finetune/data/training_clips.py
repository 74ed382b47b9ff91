"""The training clips of a run: each epoch in another order, each clip with another window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from marlin_sdk.training.finetune.data.clips import ClipDataset
from marlin_sdk.training.stream import EpochDataset

__all__ = ["TrainingClips", "collate_training"]


class TrainingClips(EpochDataset[dict[str, Any]]):
    """Streams clips with some random windows each; for the order see `EpochDataset`.

    Args:
        clips: with `windows="random"`.
        batch_size: of the loader.
        seed: of the order.
        windows: of each clip.
    """

    def __init__(self, clips: ClipDataset, *, batch_size: int, seed: int, windows: int) -> None:
        super().__init__(len(clips), batch_size=batch_size, seed=seed, drop_last=True)
        self._clips, self._num_windows = clips, windows

    def load(self, index: int, epoch: int) -> dict[str, Any]:
        """A clip: "clip" uint8 (W, 16, H, W, 3), in order of time, and what its first window says of the others."""
        drawn = [self._clips.random_item(index, epoch, draw) for draw in range(self._num_windows)]
        drawn.sort(key=lambda item: item["start_s"])
        why = next((item["broken"] for item in drawn if item["broken"]), "")
        return {**drawn[0], "broken": why, "clip": torch.stack([item["clip"] for item in drawn])}


def collate_training(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack clips; all other entries are lists."""
    kept = [key for key in items[0] if key not in ("clip", "label")]
    out: dict[str, Any] = {key: [item[key] for item in items] for key in kept}
    return {**out, "clip": torch.stack([item["clip"] for item in items])}
