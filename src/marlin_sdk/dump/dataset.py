"""Features for training: padded batches of videos, and windows streamed from a dump of any size."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.distributed
from torch.utils.data import IterableDataset, default_collate, get_worker_info

from marlin_sdk.dump.metadata import ROW_DTYPES
from marlin_sdk.dump.parquet import column_text
from marlin_sdk.dump.parquet_reader import ParquetReader
from marlin_sdk.dump.reading import FeatureDump, open_parquet, reading
from marlin_sdk.errors import ConfigError, ShapeError
from marlin_sdk.features import VideoFeatures

__all__ = ["WindowDataset", "pad_collate"]

_DEFAULT = ("id", "feature", "start_s", "end_s", "track_id")
_COLUMNS = (*_DEFAULT, "source", *(name for name in ROW_DTYPES if name not in _DEFAULT))


def pad_collate(items: Sequence[VideoFeatures | tuple[VideoFeatures, Any]]) -> dict[str, Any]:
    """Make a padded batch; the `collate_fn` of a DataLoader over videos.

    Args:
        items: videos, or pairs of a video and its label (a number, string or tensor).
    Returns:
        "features": float32 (B, Nmax, D); (B, Nmax, 8, D) of `pool="time"`, (B, Nmax, 4, D) of "regions",
        (B, Nmax, 1568, D) with `keep_seq`; 0 where padded;
        "mask": bool (B, Nmax), True where a row is real;
        "lengths": int64 (B,), rows of each video;
        "start_s", "end_s": float64 (B, Nmax), in seconds, 0 where padded;
        "ids": list of B str, the id of each video of a dump (`meta["id"]`), or else its source;
        "labels", where given: a tensor of numbers, or a list of str.
    Raises:
        ShapeError: no items, features of different shapes or reduced to a vector, or labels for some items only.
    """
    videos = [item[0] if isinstance(item, tuple) else item for item in items]
    labels = [item[1] for item in items if isinstance(item, tuple)]
    shapes = sorted({() if video.is_reduced else video.features.shape[1:] for video in videos})
    if len(shapes) != 1 or shapes[0] == ():
        raise ShapeError(
            f"cannot make a batch of {len(videos)} videos whose rows have shapes {shapes}; expected rows of one shape"
            " (a reduced vector needs no padding: use torch's default_collate)"
        )
    if labels and len(labels) < len(videos):
        raise ShapeError(f"{len(labels)} of {len(videos)} items have a label; expected all or none")
    lengths = torch.tensor([len(video) for video in videos])
    size = (len(videos), int(lengths.max()))
    batch: dict[str, Any] = {
        "features": torch.zeros(*size, *shapes[0]),
        "mask": torch.arange(size[1]) < lengths[:, None],
        "lengths": lengths,
        "start_s": torch.zeros(size, dtype=torch.float64),
        "end_s": torch.zeros(size, dtype=torch.float64),
        "ids": [str(video.meta.get("id", video.meta.get("source", ""))) for video in videos],
    }
    for index, video in enumerate(videos):
        for name in ("features", "start_s", "end_s"):
            batch[name][index, : len(video)] = torch.from_numpy(np.array(getattr(video, name)))
    if labels:
        batch["labels"] = default_collate(labels)
    return batch


class _Group(NamedTuple):
    """A row group of a shard; only rows of `ids` are used, or all if it is None."""

    path: Path
    number: int
    ids: frozenset[str] | None


class WindowDataset(IterableDataset[dict[str, Any]]):
    """Streams the windows of a parquet dump, each row once across all DataLoader workers and distributed ranks.

    Whole row groups (about 1,000 windows) are distributed, so ranks may get different numbers of rows. A worker holds
    one row group and the shuffle buffer in memory. Rows of videos that were embedded again later are skipped.

    Attributes:
        num_rows: number of rows over all ranks.
        columns: names of the columns of each row.

    Args:
        path: the folder of a dump, or one shard.
        columns: some of "id", "feature", "start_s", "end_s", "track_id" (these by default, and every label), "source",
            "frame_index", "frame_valid", "boxes", "face_score", and the labels by their names.
        shuffle_buffer: rows in the shuffle buffer; row groups are shuffled too. 0 keeps the order.
        seed: random seed of the shuffle; it must be the same on every rank.
    Raises:
        ConfigError: not a parquet dump, or no such column.
        FeatureFileError: a shard is broken or missing.
        MissingExtraError: pyarrow is not installed.
    """

    def __init__(
        self, path: str | Path, *, columns: Sequence[str] | None = None, shuffle_buffer: int = 0, seed: int = 0
    ) -> None:
        if shuffle_buffer < 0:
            raise ConfigError(f"shuffle_buffer is {shuffle_buffer}; expected 0 or more rows")
        self._shuffle_buffer, self._seed, self._epoch = shuffle_buffer, seed, 0
        self._rank_and_world: tuple[int, int] | None = None
        self._groups: list[_Group] = []
        self.num_rows = 0
        self._texts: set[str] = set()
        labels: dict[str, None] = {}
        for shard, ids, rows in _shards_of(Path(path)):
            reader = open_parquet(shard)
            current = None if sum(reader.group_rows) == rows else ids
            self._groups += [_Group(shard, index, current) for index in range(len(reader.group_rows))]
            self.num_rows += rows
            labels.update(dict.fromkeys(reader.labels))
            self._texts.update(reader.texts)
        self.columns = tuple(columns) if columns is not None else (*_DEFAULT, *labels)
        unknown = [name for name in self.columns if name not in _COLUMNS and name not in labels]
        if unknown:
            raise ConfigError(f"{path} has no columns {unknown}; expected some of {[*_COLUMNS, *labels]}")

    def set_epoch(self, epoch: int) -> None:
        """Shuffle in another order; call it on every rank before each epoch, as for torch's DistributedSampler.

        Persistent workers of a DataLoader (`persistent_workers=True`) do not see the new epoch.
        """
        self._epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows of this rank and worker.

        Yields:
            The columns: "feature" float32 (D,); (8, D) of `pool="time"`, (4, D) of "regions", (1568, D) with
            `keep_seq`; the other arrays as tensors, labels and numbers as int, float, bool or str. A label that the
            video lacks is "" if it is text, else NaN.
        Raises:
            FeatureFileError: a shard is broken.
        """
        rank, world = _rank_and_world() or self._rank_and_world or (0, 1)
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        groups = list(self._groups)
        if self._shuffle_buffer:
            random.Random(f"{self._seed} {self._epoch}").shuffle(groups)
        own = groups[rank * workers + number :: world * workers]
        if not self._shuffle_buffer:
            return self._rows(own)
        order = random.Random(f"{self._seed} {self._epoch} {rank} {number}")
        return _shuffled(self._rows(own), self._shuffle_buffer, order)

    def _rows(self, groups: Sequence[_Group]) -> Iterator[dict[str, Any]]:
        reader: ParquetReader | None = None
        for group in groups:
            if reader is None or reader.path != group.path:
                reader = open_parquet(group.path)
            present = [name for name in self.columns if name in _COLUMNS or name in reader.labels]
            with reading(group.path):
                values = reader.read_group(group.number, present if "id" in present else [*present, "id"])
            for index, id in enumerate(values["id"]):
                if group.ids is None or id in group.ids:
                    yield {name: self._item(name, values, index) for name in self.columns}

    def _item(self, name: str, values: dict[str, Any], index: int) -> Any:
        """A copy of a value, so that it does not keep the row group in memory."""
        value = values[name][index] if name in values else None
        if value is None:
            return "" if name in self._texts else math.nan
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value.copy())
        return value.item() if isinstance(value, np.generic) else value

    def __getstate__(self) -> dict[str, Any]:
        """Include the rank: a spawned worker cannot query it."""
        return {**self.__dict__, "_rank_and_world": _rank_and_world() or self._rank_and_world}


def _shards_of(path: Path) -> Iterator[tuple[Path, frozenset[str], int]]:
    """Each shard, the ids (as in its column) whose current rows it holds, and the number of these rows."""
    dump = FeatureDump(path)
    ids: dict[str, list[str]] = {}
    rows: Counter[str] = Counter()
    for id, entry in dump.entries.items():
        if entry.file is not None:
            ids.setdefault(entry.file, []).append(column_text(id))
            rows[entry.file] += entry.rows
    others = [name for name in ids if not name.endswith(".parquet")]
    if others or not ids:
        raise ConfigError(
            f"{path} is not a parquet dump: its rows are in {others[0] if others else 'no file'}; create one with "
            "--format parquet, or read videos with FeatureDump and pad_collate"
        )
    for name, own in ids.items():
        yield dump.find(name), frozenset(own), rows[name]


def _shuffled(rows: Iterator[dict[str, Any]], size: int, order: random.Random) -> Iterator[dict[str, Any]]:
    waiting: list[dict[str, Any]] = []
    for row in rows:
        if len(waiting) < size:
            waiting.append(row)
            continue
        index = order.randrange(size)
        waiting[index], drawn = row, waiting[index]
        yield drawn
    order.shuffle(waiting)
    yield from waiting


def _rank_and_world() -> tuple[int, int] | None:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return None
