"""Read shards of windows in Parquet, one video or one row group at a time."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.metadata import ROW_DTYPES, VideoMetadata
from marlin_sdk.dump.parquet import LABELS, SHAPE, TEXTS, VIDEOS, import_pyarrow
from marlin_sdk.errors import FeatureFileError
from marlin_sdk.features import VideoFeatures
from marlin_sdk.features.files import row_shapes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ParquetReader"]

_MAX_EXPANSION = 100
_MAX_METADATA = 1 << 29  # bytes of unpacked metadata; a shard of 20,000 rows has a few MB


class ParquetReader:
    """A sealed shard. It keeps no file open, so that a forked process can use it.

    Attributes:
        path: path of the shard.
        schema: Arrow's schema of all columns.
        shape: shape of the feature of a row.
        labels: the label of each label column.
        texts: the columns of text.
        num_steps: frames in a window.
        group_rows: number of rows of each row group.

    Args:
        path: path of the shard.
    Raises:
        MissingExtraError: pyarrow is not installed.
        Exception: whatever a broken or hostile file causes; `marlin_sdk.dump.reading` turns it into one error.
    """

    def __init__(self, path: Path) -> None:
        self._pa = import_pyarrow()
        self.path = path
        self.labels: dict[str, str] = {}
        self._state = _state_of(path)
        with self._pa.parquet.ParquetFile(path, pre_buffer=False) as file:
            self._metadata, self.schema = file.metadata, file.schema_arrow
        schema, own = self.schema, self.schema.metadata or {}
        self.shape: tuple[int, ...] = tuple(json.loads(own[SHAPE]))
        self.labels = json.loads(own[LABELS])
        if not isinstance(self.labels, dict) or not all(isinstance(label, str) for label in self.labels.values()):
            raise FeatureFileError("its label columns are malformed")
        # many rows share a text: read it once
        self.texts = [
            name
            for name in (*TEXTS, *self.labels)
            if schema.field(name).type in (self._pa.string(), self._pa.large_string())
        ]
        self.num_steps: int = schema.field("frame_index").type.list_size
        self.group_rows = [self._metadata.row_group(index).num_rows for index in range(self._metadata.num_row_groups)]
        rows, width = sum(self.group_rows), schema.field("feature").type.list_size
        size = path.stat().st_size
        # features are uncompressed, and the rest compresses only so far
        if (
            width != math.prod(self.shape)
            or not width * self.num_steps
            or width * rows * 4 > size
            or self.num_steps * rows * 8 > _MAX_EXPANSION * size
        ):
            raise FeatureFileError(
                f"declares {rows} rows of shape {self.shape} and {self.num_steps} frames, more than its size can hold"
            )
        self._last: tuple[int, Any] = (-1, None)
        self._index: dict[str, tuple[int, bytes]] | None = None

    def _open(self, read_dictionary: Sequence[str] = ()) -> Any:
        if _state_of(self.path) != self._state:
            raise FeatureFileError("was replaced since it was opened: a run has changed its labels; open the dump anew")
        return self._pa.parquet.ParquetFile(
            self.path, metadata=self._metadata, read_dictionary=list(read_dictionary), pre_buffer=False
        )

    def metadata(self) -> Iterator[VideoMetadata]:
        """Metadata of every video, in the order of their rows."""
        return (VideoMetadata.from_json(line) for line in self.lines())

    def lines(self) -> list[bytes]:
        """Metadata of every video, as JSON."""
        unpacker = zlib.decompressobj()
        packed = base64.b64decode(self._metadata.metadata[VIDEOS], validate=True)
        text = unpacker.decompress(packed, _MAX_METADATA)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise FeatureFileError("its metadata is truncated, or unpacks to too many bytes")
        return text.splitlines()

    def read(self, id: str) -> VideoFeatures:
        """The features of a video.

        Raises:
            KeyError: it is not here.
        """
        if self._index is None:
            index, first = {}, 0
            for line in self.lines():
                metadata = VideoMetadata.from_json(line)
                index[metadata.entry.id] = (first, line)  # parsed, it would take ten times the memory
                first += metadata.shape[0]
            self._index = index
        first, line = self._index[id]
        metadata = VideoMetadata.from_json(line)
        if metadata.shape[0] == 0:
            return metadata.join(metadata.no_rows())
        return metadata.join(self._read_rows(first, metadata.shape[0]))

    def read_group(self, index: int, columns: Sequence[str]) -> dict[str, Any]:
        """Read a row group: arrays (rows, ...) for numbers, lists for strings and labels, None where one is absent.

        Args:
            index: number of the row group, from 0.
            columns: names of the columns to read.
        """
        with self._open(self.texts) as file:
            # no threads: a DataLoader may have forked this process
            table = file.read_row_group(index, columns=list(columns), use_threads=False)
        return {name: self._values(table.column(name), name) for name in columns}

    def read_table(self, index: int, columns: Sequence[str]) -> pa.Table:
        """Read a row group as it is stored."""
        with self._open() as file:
            return file.read_row_group(index, columns=list(columns), use_threads=False).select(list(columns))

    def _values(self, column: pa.ChunkedArray, name: str) -> Any:
        array = column.combine_chunks()
        if name not in ROW_DTYPES and name != "feature":
            if name not in self.texts:
                return array.to_pylist()
            texts = array.dictionary.to_pylist()
            return [None if index is None else texts[index] for index in array.indices.to_pylist()]
        shape = self.shape if name == "feature" else row_shapes(self.num_steps)[name]
        flat = array.flatten() if shape else array
        values: NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(len(column), *shape)
        return values

    def _read_rows(self, first: int, count: int) -> dict[str, NDArray[Any]]:
        if first + count > sum(self.group_rows):
            raise FeatureFileError(f"has {sum(self.group_rows)} rows, expected at least {first + count}")
        pieces: list[dict[str, Any]] = []
        start = 0
        for index, rows in enumerate(self.group_rows):
            begin, end = max(first - start, 0), min(first + count - start, rows)
            if begin < end:
                group = self._group(index)
                pieces.append({name: values[begin:end] for name, values in group.items()})
            start += rows
        names = ("feature", *ROW_DTYPES)
        # a copy, so that a few rows do not keep their whole group in memory
        return {
            "features" if name == "feature" else name: np.concatenate([piece[name] for piece in pieces])
            for name in names
        }

    def _group(self, index: int) -> dict[str, Any]:
        """A row group; the last one is cached, because the next video is most likely in it."""
        if self._last[0] != index:
            self._last = (index, self.read_group(index, ("feature", *ROW_DTYPES)))
        group: dict[str, Any] = self._last[1]
        return group


def _state_of(path: Path) -> tuple[int, ...]:
    """Differs once another file has replaced this one."""
    facts = path.stat()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns
