"""Many videos as one table, a row per window: for Arrow, and through it Polars and DuckDB, and for pandas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError, MissingExtraError, ShapeError
from marlin_sdk.features.features import VideoFeatures
from marlin_sdk.features.labels import Label, LabelType

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["LabelledVideo", "to_arrow", "to_pandas"]

_CHUNK_ROWS = 4096
_FIXED = ("id", "start_s", "end_s", "track_id", "feature")


class LabelledVideo(NamedTuple):
    """A video, its name, and what is known of it."""

    id: str
    labels: Mapping[str, Label]
    features: VideoFeatures


@dataclass(frozen=True)
class _Chunk:
    """Some rows; a video that was reduced to one vector is one row."""

    ids: list[str]
    labels: dict[str, list[Label | None]]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    track_id: NDArray[np.int64]
    feature: NDArray[np.float32]


def to_arrow(videos: Iterable[LabelledVideo], types: Mapping[str, LabelType]) -> pa.Table:
    """See `FeatureDump.to_arrow`.

    Args:
        videos: read one after the other.
        types: of each label.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("to_arrow()", "parquet") from error
    names = _columns_of(types, _FIXED)
    kinds = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.string()}
    fields = [pa.field("id", pa.string()), *(pa.field(column, kinds[types[name]]) for name, column in names.items())]
    fields += [pa.field("start_s", pa.float64()), pa.field("end_s", pa.float64()), pa.field("track_id", pa.int64())]
    schema: Any = None
    batches = []
    for chunk in _chunks(videos, types):
        width = chunk.feature[0].size
        if schema is None:
            kind = pa.list_(pa.float32(), width)
            shape = json.dumps(chunk.feature.shape[1:]).encode()
            schema = pa.schema([*fields, pa.field("feature", kind)], {b"marlin_sdk.feature_shape": shape})
        feature = pa.FixedSizeListArray.from_arrays(pa.array(chunk.feature.reshape(-1)), width)
        labels = [pa.array(map(_utf8, chunk.labels[name]), kinds[types[name]]) for name in names]
        columns = [pa.array(map(_utf8, chunk.ids), pa.string()), *labels, chunk.start_s, chunk.end_s, chunk.track_id]
        batches.append(pa.record_batch([*columns, feature], schema=schema))
    return pa.Table.from_batches(batches, schema or pa.schema([*fields, pa.field("feature", pa.list_(pa.float32()))]))


def to_pandas(videos: Iterable[LabelledVideo], types: Mapping[str, LabelType]) -> pd.DataFrame:
    """See `FeatureDump.to_pandas`.

    Args:
        videos: read one after the other.
        types: of each label.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtraError("to_pandas()", "pandas") from error
    heads: list[dict[str, Any]] = []
    chunks: list[NDArray[np.float32]] = []
    for chunk in _chunks(videos, types):
        if chunk.feature.ndim != 2:
            raise ConfigError(
                f"rows of shape {chunk.feature.shape[1:]} are no table of numbers; use to_arrow(), where they are lists"
            )
        heads.append({"id": chunk.ids, **chunk.labels, **{name: getattr(chunk, name) for name in _FIXED[1:4]}})
        chunks.append(chunk.feature)
    rows, width = sum(map(len, chunks)), chunks[0].shape[1] if chunks else 0
    features = np.empty((rows, width), dtype=np.float32)
    while chunks:  # each is released once it is copied, so that memory holds the features once
        part = chunks.pop()
        features[rows - len(part) : rows] = part
        rows -= len(part)
    own = [f"f{index}" for index in range(width)]
    names = _columns_of(types, (*_FIXED, *own))
    table: dict[str, Any] = {"id": [id for head in heads for id in head["id"]]}
    for name, column in names.items():
        table[column] = [value for head in heads for value in head[name]]
    for name in _FIXED[1:4]:
        table[name] = np.concatenate([head[name] for head in heads]) if heads else []
    return pd.concat([pd.DataFrame(table), pd.DataFrame(features, columns=own)], axis=1)


def _columns_of(labels: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    """The column of each label: its name, with `label_` before it where that is taken."""
    names, used = sorted(labels), set(taken)
    columns: dict[str, str] = {}
    for name in names:
        column = name
        while column in used or (column != name and column in names):
            column = f"label_{column}"
        columns[name] = column
        used.add(column)
    return columns


def _utf8(value: Label | None) -> Label | None:
    """Text without the bytes of file names that are not UTF-8: they become backslash escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _chunks(videos: Iterable[LabelledVideo], types: Mapping[str, LabelType]) -> Iterator[_Chunk]:
    waiting: list[LabelledVideo] = []
    rows, shape = 0, None
    for video in videos:
        own = video.features.features.shape[0 if video.features.is_reduced else 1 :]
        if shape is not None and own != shape:
            raise ShapeError(f"{video.id}: rows of shape {own}, but {shape} before; a table needs rows of one shape")
        shape = own
        waiting.append(video)
        rows += len(video.features)
        if rows >= _CHUNK_ROWS:
            yield _chunk(waiting, types)
            waiting, rows = [], 0
    if rows:
        yield _chunk(waiting, types)


def _chunk(videos: list[LabelledVideo], types: Mapping[str, LabelType]) -> _Chunk:
    counts = [1 if video.features.is_reduced else len(video.features) for video in videos]
    repeated = [video for video, count in zip(videos, counts, strict=True) for _ in range(count)]
    parts = [video.features for video in videos]
    return _Chunk(
        [video.id for video in repeated],
        {name: [video.labels.get(name) for video in repeated] for name in types},
        np.concatenate([part.start_s.min(keepdims=True) if part.is_reduced else part.start_s for part in parts]),
        np.concatenate([part.end_s.max(keepdims=True) if part.is_reduced else part.end_s for part in parts]),
        np.concatenate([_track_of(part) if part.is_reduced else part.track_id for part in parts]),
        np.concatenate([part.features[None] if part.is_reduced else part.features for part in parts]),
    )


def _track_of(features: VideoFeatures) -> NDArray[np.int64]:
    """The track of a vector that all windows were reduced to: -1 if there are several."""
    tracks = np.unique(features.track_id)
    return tracks if len(tracks) == 1 else np.array([-1], dtype=np.int64)
