"""Features of the windows of clips, from the network as it is: over all processes, and pooled for heads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from marlin_sdk.training.finetune.data.clips import ClipDataset
from marlin_sdk.training.strategy import gather

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["WindowRows", "collate", "window_rows"]


@dataclass(frozen=True, eq=False)
class WindowRows:
    """Features of windows, those of a clip one after the other.

    Attributes:
        features: float32 (W, F).
        row: int64 (W,), the clip of each, ascending.
        window: int64 (W,), its number in the clip.
        broken: why clips could not be read, by their row; these have no window here.
    """

    features: NDArray[np.float32]
    row: NDArray[np.int64]
    window: NDArray[np.int64]
    broken: dict[int, str]

    @property
    def rows(self) -> NDArray[np.int64]:
        """The clips that have features, ascending."""
        return np.unique(self.row)

    def select(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
        """Some of the clips, in this order, without those that have none: their rows, windows, and ends in these."""
        starts = np.searchsorted(self.row, rows)
        ends = np.searchsorted(self.row, rows, side="right")
        kept = ends > starts
        pieces = [self.features[start:end] for start, end in zip(starts[kept], ends[kept], strict=True)]
        if not pieces:
            return rows[kept], self.features[:0], np.empty(0, np.int64)
        return rows[kept], np.concatenate(pieces), np.cumsum([len(piece) for piece in pieces], dtype=np.int64)

    def means(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The mean feature of some of the clips, without those that have none."""
        kept, features, ends = self.select(rows)
        if not len(kept):
            return kept, features
        starts = np.concatenate([[0], ends[:-1]])
        sums = np.add.reduceat(features, starts, axis=0, dtype=np.float64)
        return kept, (sums / (ends - starts)[:, None]).astype(np.float32)

    def batches(
        self, rows: NDArray[np.int64], size: int = 256
    ) -> tuple[NDArray[np.int64], list[tuple[Tensor, Tensor]]]:
        """Padded windows (B, N, F) with their masks (B, N), for a head; and the clips that they are of."""
        kept, features, ends = self.select(rows)
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        found = []
        for begin in range(0, len(kept), size):
            pieces = [
                torch.from_numpy(features[start:end])
                for start, end in zip(starts[begin : begin + size], ends[begin : begin + size], strict=True)
            ]
            lengths = torch.tensor([len(piece) for piece in pieces])
            padded = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
            found.append((padded, torch.arange(padded.shape[1])[None] < lengths[:, None]))
        return kept, found


def window_rows(
    clips: ClipDataset,
    encode: Callable[[Tensor], Tensor],
    fabric: Fabric,
    *,
    batch_size: int,
    num_workers: int,
) -> WindowRows:
    """Features of all windows of a data set, on every process. A collective call.

    Args:
        clips: with `windows="all"`.
        encode: uint8 (B, 16, H, W, 3) to float32 (B, F) on the CPU.
        fabric: launched; each process encodes its share.
        batch_size: windows at once.
        num_workers: data loader processes.
    """
    own = range(fabric.global_rank, len(clips), fabric.world_size)
    loader: DataLoader[Any] = DataLoader(
        Subset(clips, own), batch_size=batch_size, num_workers=num_workers, collate_fn=collate
    )
    features: list[NDArray[np.float32]] = []
    places: list[tuple[int, int]] = []
    broken: dict[int, str] = {}
    for items in loader:
        encoded = encode(items["clip"]).numpy()
        for index, (row, window, why) in enumerate(zip(items["row"], items["window"], items["broken"], strict=True)):
            if why:
                broken[row] = why
            else:
                features.append(encoded[index])
                places.append((row, window))
    parts = gather((features, places, broken))
    broken = {row: why for _, _, own_broken in parts for row, why in own_broken.items()}
    joined = [(place, feature) for many, at, _ in parts for place, feature in zip(at, many, strict=True)]
    joined = sorted((pair for pair in joined if pair[0][0] not in broken), key=lambda pair: pair[0])
    width = joined[0][1].shape[0] if joined else 0
    return WindowRows(
        np.stack([feature for _, feature in joined]) if joined else np.empty((0, width), np.float32),
        np.array([place[0] for place, _ in joined], dtype=np.int64),
        np.array([place[1] for place, _ in joined], dtype=np.int64),
        broken,
    )


def collate(items: list[Any]) -> dict[str, Any]:
    """Stack clips; all other entries are lists."""
    out: dict[str, Any] = {key: [item[key] for item in items] for key in items[0] if key not in ("clip", "label")}
    out["clip"] = torch.stack([item["clip"] for item in items])
    return out
