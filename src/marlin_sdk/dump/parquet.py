"""Shards of windows in Parquet: one row per window, written in row groups, and metadata of each video in the footer."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.metadata import ROW_DTYPES, VideoMetadata
from marlin_sdk.errors import MissingExtraError
from marlin_sdk.features import VideoFeatures
from marlin_sdk.features.files import row_shapes
from marlin_sdk.features.labels import Label, LabelType, common_type, type_of

__all__ = [
    "LABELS",
    "SHAPE",
    "TEXTS",
    "VIDEOS",
    "ParquetShard",
    "column_text",
    "column_value",
    "import_pyarrow",
    "label_columns",
    "label_fields",
    "open_parquet_writer",
    "pack_videos",
]

_GROUP_ROWS = 1024
_GROUP_BYTES = 32 << 20  # rows of tokens are large: buffer no more than this
VIDEOS, SHAPE, LABELS = b"marlin_sdk.videos", b"marlin_sdk.feature_shape", b"marlin_sdk.labels"
TEXTS = ("id", "source")


def import_pyarrow() -> Any:
    """Import pyarrow, with its `parquet`.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("format parquet", "parquet") from error
    return pa


def column_text(text: str) -> str:
    """Text as stored in a column: bytes of a file name that are not UTF-8 become backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def column_value(label: Label | None) -> Label | None:
    """A label as stored in a column."""
    return column_text(label) if isinstance(label, str) else label


class ParquetShard:
    """A shard that is being written. Only rows that do not fill a row group yet are buffered in memory.

    Columns: `id`, `source`, `start_s`, `end_s`, `track_id`, `frame_index` [16], `frame_valid` [16], `boxes` [64],
    `face_score` [16], `feature` [D] (several vectors or tokens in one list with `pool` or `keep_seq`; the shape is in
    the schema's metadata), and one column per label, in the order of their names, named after it, or `label_` and its
    name where that is taken: int64, double, bool or string, null for a video without it.

    Args:
        part: path of the partial file.
        types: the type of each label of the dump, so that all shards have the same columns. By default those of the
            first video.
    """

    def __init__(self, part: Path, types: Mapping[str, LabelType] | None = None) -> None:
        self._pa = import_pyarrow()
        self._part = part
        self._types = dict(types or {})
        self._writer: Any = None
        self._pending: list[Any] = []
        self._group_rows = _GROUP_ROWS
        self._shape: tuple[object, ...] = ()
        self._compressor, self._packed = zlib.compressobj(), bytearray()

    def takes(self, entry: ManifestEntry, features: VideoFeatures) -> bool:
        """Whether a video has the columns of the videos before it."""
        if self._writer is None or len(features) == 0:
            return True
        own = {name: type_of(value) for name, value in (entry.labels or {}).items()}
        return self._shape == _shape_of(features) and all(
            name in self._types and common_type([self._types[name], kind]) == self._types[name]
            for name, kind in own.items()
        )

    def add(self, entry: ManifestEntry, features: VideoFeatures) -> None:
        """Write the rows of a video.

        Raises:
            ConfigError: they were reduced to a vector.
            FeatureFileError: metadata that is not JSON.
            OSError: the disk is full.
        """
        metadata = VideoMetadata.of(entry, features).to_json()
        if self._writer is None:
            self._start(entry, features)
        if len(features):
            self._pending.append(self._table(entry, features))
        self._packed += self._compressor.compress(f"{metadata}\n".encode())
        rows = sum(len(table) for table in self._pending)
        if rows >= self._group_rows:
            waiting = self._pa.concat_tables(self._pending)
            whole = rows - rows % self._group_rows
            self._pending = [waiting.slice(whole)] if whole < rows else []
            self._writer.write_table(waiting.slice(0, whole), row_group_size=self._group_rows)

    def _start(self, entry: ManifestEntry, features: VideoFeatures) -> None:
        pa = self._pa
        shape, num_steps = features.features.shape[1:], features.frame_index.shape[1]
        self._shape = _shape_of(features)
        self._types = {**{name: type_of(value) for name, value in (entry.labels or {}).items()}, **self._types}
        self._labels = label_columns(self._types)
        self._group_rows = max(1, min(_GROUP_ROWS, _GROUP_BYTES // (4 * math.prod(shape))))
        columns = [pa.field(name, pa.string(), nullable=False) for name in TEXTS]
        for name, row_shape in row_shapes(num_steps).items():
            columns.append(_field(pa, name, ROW_DTYPES[name], math.prod(row_shape), row_shape))
        columns.append(_field(pa, "feature", np.float32, math.prod(shape), shape))
        fields = label_fields(self._types)
        self._schema = pa.schema([*columns, *fields], {SHAPE: json.dumps(shape), LABELS: json.dumps(self._labels)})
        self._writer = open_parquet_writer(self._part, self._schema, fields)

    def _table(self, entry: ManifestEntry, features: VideoFeatures) -> Any:
        pa, rows = self._pa, len(features)
        labels = entry.labels or {}
        values_of: dict[str, Label | None] = {"id": entry.id, "source": entry.source}
        values_of |= {column: labels.get(label) for column, label in self._labels.items()}
        arrays: dict[str, Any] = {
            name: pa.array([column_value(value)] * rows, type=self._schema.field(name).type)
            for name, value in values_of.items()
        }
        for name, dtype in {**ROW_DTYPES, "feature": np.float32}.items():
            values = getattr(features, "features" if name == "feature" else name)
            flat = pa.array(np.ascontiguousarray(values, dtype=dtype).reshape(-1))
            kind = self._schema.field(name).type
            arrays[name] = flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, type=kind)
        return pa.Table.from_arrays([arrays[name] for name in self._schema.names], schema=self._schema)

    def finish(self) -> None:
        """Write the remaining rows and the footer.

        Raises:
            OSError: the disk is full.
        """
        if self._pending:
            self._writer.write_table(self._pa.concat_tables(self._pending), row_group_size=self._group_rows)
            self._pending = []
        packed = base64.b64encode(bytes(self._packed) + self._compressor.flush())
        self._writer.add_key_value_metadata({VIDEOS: packed})
        self._writer.close()

    def discard(self) -> None:
        """Close the file, whose content is not used."""
        self._pending = []
        if self._writer is not None:
            with suppress(Exception):  # the disk may be full
                self._writer.close()
            self._writer.is_open = False  # otherwise it tries again when it is garbage-collected


def open_parquet_writer(part: Path, schema: Any, labels: Iterable[Any]) -> Any:
    """Open a file for the rows of a shard.

    Args:
        part: path of the file.
        schema: all of its columns.
        labels: those of them that are labels.
    """
    pa = import_pyarrow()
    compression = dict.fromkeys(schema.names, "ZSTD") | {"feature": "NONE"}
    return pa.parquet.ParquetWriter(
        str(part),
        schema,
        memory_pool=pa.system_memory_pool(),
        # float features do not compress; uncompressed they are read fast
        compression={_leaf(schema, name): codec for name, codec in compression.items()},
        use_dictionary=[*TEXTS, *(field.name for field in labels)],
        write_statistics=["id", "start_s", "end_s", "track_id"],
    )


def pack_videos(lines: Iterable[bytes]) -> bytes:
    """The metadata of videos, a line each, as the footer holds it."""
    return base64.b64encode(zlib.compress(b"".join(line + b"\n" for line in lines)))


def _shape_of(features: VideoFeatures) -> tuple[object, ...]:
    return features.features.shape[1:], features.frame_index.shape[1]


def _field(pa: Any, name: str, dtype: Any, size: int, shape: tuple[int, ...]) -> Any:
    kind = pa.from_numpy_dtype(np.dtype(dtype))
    if shape:
        kind = pa.list_(pa.field("element", kind, nullable=False), size)
    return pa.field(name, kind, nullable=False)


def _leaf(schema: Any, name: str) -> str:
    return f"{name}.list.element" if hasattr(schema.field(name).type, "list_size") else name


def label_columns(labels: Iterable[str]) -> dict[str, str]:
    """The label of each column, in the order of the labels' names."""
    labels = sorted(labels)
    columns: dict[str, str] = {}
    for label in labels:
        column = column_text(label)
        while column in (*TEXTS, *ROW_DTYPES, "feature", *columns) or (column != label and column in labels):
            column = f"label_{column}"
        columns[column] = label
    return columns


def label_fields(types: Mapping[str, LabelType]) -> list[Any]:
    """Arrow's field of each label column."""
    pa = import_pyarrow()
    kinds = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
    return [pa.field(column, kinds[types[label]]) for column, label in label_columns(types).items()]
