"""Labelled clips of prepared faces as a torch data set."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.evaluation.probe.splits import split_part
from marlin_sdk.evaluation.probe.targets import Kind, Target, choose_targets
from marlin_sdk.training.finetune.data.placing import WindowRule
from marlin_sdk.training.finetune.data.table import LabelledTable, open_table, say_left_out, values_of

__all__ = ["ClipDataset", "LabelledClip"]

logger = logging.getLogger("marlin_sdk")


class LabelledClip(TypedDict):
    """One window of a labelled clip.

    Attributes:
        clip: uint8 (16, 224, 224, 3), RGB; or float32 (3, 16, 224, 224) in [0, 1].
        label: of one label with classes, int64 (), the index of the class; else float32 (L,), a number for each label,
            0 or 1 of those with two classes, NaN where it is unknown.
        id: of the table's row.
        row: its number among those that can be used.
        window: number of the window; -1 of a random one.
        start_s: time of its first frame in the video.
        end_s: end of its last frame.
        broken: why the clip is blank; empty for all others.
    """

    clip: Tensor
    label: Tensor
    id: str
    row: int
    window: int
    start_s: float
    end_s: float
    broken: str


class ClipDataset(Dataset[LabelledClip]):
    """Labelled clips of prepared faces, for a plain loop or Lightning's.

    It reads the shards of `marlin-sdk prepare`, so that no video is decoded twice; it holds no open file, and can be
    pickled, so that workers of a `DataLoader` read in parallel. In training an item is a clip, of which each epoch
    shows another window (`set_epoch`); for a test it is one of the windows that an extraction takes, so that a clip is
    several items, whose scores are averaged by `id`.

    Attributes:
        targets: the labels, with their classes.
        left_out: ids of the table's rows that cannot be used, by reason; also logged.

    Args:
        table: as `marlin-extract --table` takes it: path, id, start_s, end_s, labels, split, group.
        label: a label column, or a pattern of several ("appearance.*").
        shards: written by `marlin-sdk prepare` from the videos of the table.
        split: only the rows of this split: "train", "val" or "test"; None takes all.
        windows: "random", a random window of each clip; "all", each of its windows.
        kind: "classification" or "regression"; by default floats are numbers, and everything else is classes.
        config: of the model, whose size the crops must have.
        sample_rate: source frames from one frame of a window to the next.
        stride: sampled frames from one window to the next.
        jitter_s: random windows may begin so much before the row's part of the video, and end so much after it.
        as_float: clips as the encoder takes them, instead of bytes.
        transform: applied to the clip, bytes or floats.
        skip_damaged: give a blank clip that says why, instead of an error, where a shard is damaged.
        seed: of random windows.
    Raises:
        ConfigError: a table or label that cannot be used, no row in the split, faces of another size.
    """

    def __init__(
        self,
        table: str | Path | LabelledTable,
        label: str,
        *,
        shards: str | Path | None = None,
        split: Literal["train", "val", "test"] | None = None,
        windows: Literal["random", "all"] = "random",
        kind: Kind | None = None,
        config: ModelConfig | None = None,
        sample_rate: int = 2,
        stride: int = 16,
        jitter_s: float = 0.0,
        as_float: bool = False,
        transform: Callable[[Tensor], Tensor] | None = None,
        skip_damaged: bool = False,
        seed: int = 0,
    ) -> None:
        if windows not in ("random", "all"):
            raise ConfigError(f"windows is {windows!r}; expected 'random' or 'all'")
        if isinstance(table, LabelledTable):
            opened = table
        elif shards is None:
            raise ConfigError("shards is missing; expected the folder that marlin-sdk prepare wrote")
        else:
            plan = WindowRule(16 if config is None else config.n_frames, sample_rate, stride)
            opened = open_table(table, shards, plan=plan, jitter_s=jitter_s, model=config)
            for note in say_left_out(opened.left_out):
                logger.warning("%s", note)
        targets, _ = choose_targets(opened.samples, label, kind=kind)
        self._set_up(opened, targets, _rows(opened, targets, split), windows, seed)
        self._as_float, self._transform, self._skip_damaged = as_float, transform, skip_damaged

    @classmethod
    def of(
        cls,
        table: LabelledTable,
        targets: Sequence[Target],
        rows: NDArray[np.int64],
        *,
        windows: Literal["random", "all"],
        seed: int = 0,
    ) -> ClipDataset:
        """Some rows of a table that is open already; a damaged shard gives blank clips."""
        made = cls.__new__(cls)
        made._set_up(table, tuple(targets), rows, windows, seed)
        made._as_float, made._transform, made._skip_damaged = False, None, True
        return made

    def _set_up(
        self, table: LabelledTable, targets: tuple[Target, ...], rows: NDArray[np.int64], windows: str, seed: int
    ) -> None:
        self.targets, self.left_out = targets, table.left_out
        self._plan, self._seed = table.plan, seed
        self._rows = [int(row) for row in rows]
        self._places = [table.places[row] for row in self._rows]
        self._values = torch.from_numpy(values_of(targets)[rows])
        self._is_index = len(targets) == 1 and bool(targets[0].classes)
        self._size_px = table.prepared.size_px
        self._epoch = torch.zeros(1, dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]
        self._windows: list[tuple[int, int, NDArray[np.int64]]] | None = None
        if windows == "all":
            self._windows = [
                (index, number, frames)
                for index, place in enumerate(self._places)
                for number, frames in enumerate(place.windows(self._plan))
            ]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by index; empty for numbers."""
        return self.targets[0].classes

    @property
    def ids(self) -> list[str]:
        """The table's ids of the clips, in order; of several windows, of the clip that each shows."""
        if self._windows is None:
            return [place.id for place in self._places]
        return [self._places[index].id for index, *_ in self._windows]

    def set_epoch(self, epoch: int) -> None:
        """Take the random windows of an epoch; persistent workers see it too."""
        self._epoch[0] = epoch

    def __len__(self) -> int:
        return len(self._places if self._windows is None else self._windows)

    def __getitem__(self, item: int) -> LabelledClip:
        """The clip or the window of an index.

        Raises:
            VideoDecodeError: a shard is damaged, and `skip_damaged` is not set.
        """
        if not -len(self) <= item < len(self):
            raise IndexError(f"index {item} of {len(self)} items")
        item = range(len(self))[item]
        if self._windows is not None:
            return self._read(*self._windows[item])
        return self.random_item(item, int(self._epoch))

    def random_item(self, index: int, epoch: int, draw: int = 0) -> LabelledClip:
        """A random window of a clip; the same for the same epoch and draw."""
        random = np.random.default_rng([self._seed, epoch, index, draw])
        return self._read(index, -1, self._places[index].random_window(self._plan, random))

    def _read(self, index: int, window: int, frames: NDArray[np.int64]) -> LabelledClip:
        place, broken = self._places[index], ""
        try:
            pixels = place.read(frames)
            if pixels.shape[1:3] != (self._size_px, self._size_px):
                raise VideoDecodeError(f"crops of {place.id!r} have {pixels.shape[1:3]} pixels; prepare them again")
        except VideoDecodeError as error:
            if not self._skip_damaged:
                raise
            pixels, broken = np.zeros((len(frames), self._size_px, self._size_px, 3), np.uint8), str(error)
        clip = torch.from_numpy(pixels)
        if self._as_float:
            clip = clip.permute(3, 0, 1, 2).float() / 255
        values = self._values[index]
        return LabelledClip(
            clip=clip if self._transform is None else self._transform(clip),
            label=values[0].long() if self._is_index else values,
            id=place.id,
            row=self._rows[index],
            window=window,
            start_s=place.time_s(int(frames[0])),
            end_s=place.time_s(int(frames[-1]) + 1),
            broken=broken,
        )


def _rows(table: LabelledTable, targets: Sequence[Target], split: str | None) -> NDArray[np.int64]:
    labelled: Any = np.logical_or.reduce([target.labelled for target in targets])
    if split is not None:
        parts = np.array([split_part(name) for name in table.samples.splits.tolist()])
        labelled = labelled & (parts == split)
    rows = np.flatnonzero(labelled)
    if not len(rows):
        found = sorted(set(table.samples.splits.tolist()) - {""})
        raise ConfigError(f"no labelled clip is in the split {split!r}; the table has {', '.join(found) or 'none'}")
    return rows
