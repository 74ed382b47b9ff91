"""Give a dump other labels without embedding again: decide their types, and rewrite those of sealed shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marlin_sdk.atomic import atomic_path
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.parquet import (
    LABELS,
    VIDEOS,
    column_value,
    import_pyarrow,
    label_columns,
    label_fields,
    open_parquet_writer,
    pack_videos,
)
from marlin_sdk.dump.parquet_reader import ParquetReader
from marlin_sdk.dump.reading import open_parquet, reading
from marlin_sdk.dump.webdataset import METADATA, TarReader
from marlin_sdk.errors import ConfigError, FeatureFileError
from marlin_sdk.features.labels import Label, LabelType, as_type, common_type, parse_column, same_labels, type_of

__all__ = ["Labelling", "agree_on_labels", "relabel_shard"]


@dataclass(frozen=True)
class Labelling:
    """The labels that a dump shall have.

    Attributes:
        table: those of the table of inputs, by id; None where a cell is empty.
        entries: entries of the dump, by id: their labels are those of the videos that the table does not list.
        types: the type of each label in the whole dump.
    """

    table: Mapping[str, Mapping[str, Label | None]] = field(default_factory=dict)
    entries: Mapping[str, ManifestEntry] = field(default_factory=dict)
    types: Mapping[str, LabelType] = field(default_factory=dict)

    def of(self, entry: ManifestEntry) -> dict[str, Label]:
        """The labels of a video: those of its row, or else those that the dump has.

        Raises:
            ConfigError: the dump has a label of another type, which another run has written since.
        """
        labels = self.table.get(entry.id)
        if labels is None:
            labels = self.entries.get(entry.id, entry).labels or {}
        return {name: self._typed(name, value) for name, value in labels.items() if value not in (None, "")}

    def _typed(self, name: str, value: Label | None) -> Label:
        assert value is not None
        kind = self.types.get(name, type_of(value))
        if isinstance(value, str) and kind != "text":
            (parsed,) = parse_column([value], name)  # as `agree_on_labels` found
            assert parsed is not None
            value = parsed
        if common_type([kind, type_of(value)]) != kind:
            raise ConfigError(f"the label {name!r} is {value!r} in the dump, but {kind} here; give all runs one table")
        return as_type(value, kind)


def agree_on_labels(
    table: Mapping[str, Mapping[str, Label | None]], entries: Mapping[str, ManifestEntry], where: Path
) -> Labelling:
    """Find one type for each label, in the table of inputs and in the videos of the dump that it does not list.

    Version 0.1.0 wrote all labels as text; such text is read as the cells of a table are.

    Args:
        table: labels by id.
        entries: entries of the dump, by id.
        where: folder of the dump, for error messages.
    Raises:
        ConfigError: a label has types that do not go together.
    """
    listed: dict[str, set[LabelType]] = {}
    for row in table.values():
        for name, value in row.items():
            if value not in (None, ""):
                assert value is not None
                listed.setdefault(name, set()).add(type_of(value))
    others: dict[str, dict[LabelType, list[Label]]] = {}
    for id, entry in entries.items():
        for name, value in (entry.labels or {}).items() if id not in table else ():
            if value != "":
                others.setdefault(name, {}).setdefault(type_of(value), []).append(value)
    types: dict[str, LabelType] = {}
    for name in sorted(listed.keys() | others.keys()):
        own, rest = listed.get(name, set()), others.get(name, {})
        kind = common_type({*own, *rest}) or common_type({*own, *_retyped(rest)})
        if kind is None:
            raise ConfigError(_told(name, own, rest, where))
        types[name] = kind
    return Labelling(table, entries, types)


def _retyped(found: Mapping[LabelType, list[Label]]) -> set[LabelType]:
    try:
        parsed = parse_column([str(text) for text in found.get("text", [])], "")
    except ConfigError:  # nan among numbers
        return set(found)
    return {type_of(value) for value in parsed if value is not None} | (found.keys() - {"text"})


def _told(name: str, own: set[LabelType], rest: Mapping[LabelType, list[Label]], where: Path) -> str:
    counts = ", ".join(f"{kind} for {len(values)}" for kind, values in sorted(rest.items()))
    here = f"is {' and '.join(sorted(own))} in the table, and " if own else "is "
    return (
        f"the label {name!r} {here}{counts or 'nothing'} of the videos of {where} that the table does not list; a "
        "label has one type in a dump: give the column another name, or a table that lists these videos too"
    )


def relabel_shard(path: Path, labelling: Labelling, *, is_current: bool) -> bool:
    """Rewrite the labels of a sealed shard, if they or their columns differ; its features stay as they are.

    The new file replaces the old one at once, so a kill leaves one of the two. It takes a row group of memory.

    Args:
        path: a `.parquet` or `.tar` file. The caller must hold `lock_shards`.
        labelling: the labels that it shall have.
        is_current: whether its videos have these labels already, so that only its columns are looked at.
    Returns:
        Whether it was rewritten.
    Raises:
        FeatureFileError: it is broken, or cannot be replaced.
        OSError: it cannot be written.
    """
    if path.suffix == ".tar":
        with reading(path):
            return not is_current and _relabel_tar(path, labelling)
    shard = open_parquet(path)
    if is_current and _label_fields_of(shard) == label_fields(labelling.types):
        return False
    return _relabel_parquet(path, shard, labelling)


def _label_fields_of(shard: ParquetReader) -> list[Any]:
    return [field for field in shard.schema if field.name in shard.labels]


def _relabel_parquet(path: Path, shard: ParquetReader, labelling: Labelling) -> bool:
    pa = import_pyarrow()
    with reading(path):
        videos = list(shard.metadata())
    columns = label_columns(labelling.types)
    labels = [labelling.of(video.entry) for video in videos]
    fields = [field for field in shard.schema if field.name not in shard.labels]
    kinds = label_fields(labelling.types)
    if _label_fields_of(shard) == kinds and all(
        same_labels(own, video.entry.labels or {}) for own, video in zip(labels, videos, strict=True)
    ):
        return False
    row_of = np.repeat(np.arange(len(videos)), [video.shape[0] for video in videos])
    if len(row_of) != sum(shard.group_rows):
        raise FeatureFileError(f"{path} has {sum(shard.group_rows)} rows, but its videos have {len(row_of)}")
    values = {
        field.name: pa.array([column_value(own.get(columns[field.name])) for own in labels], type=field.type)
        for field in kinds
    }
    own_metadata = {**shard.schema.metadata, LABELS: json.dumps(columns).encode()}
    schema = pa.schema([*fields, *kinds], own_metadata)
    with atomic_path(path) as part, open_parquet_writer(part, schema, kinds) as writer:
        start = 0
        for index, rows in enumerate(shard.group_rows):
            with reading(path):
                table = shard.read_table(index, [field.name for field in fields])
            places = pa.array(row_of[start : start + rows])
            texts = [values[field.name].take(places) for field in kinds]
            writer.write_table(pa.Table.from_arrays([*table.columns, *texts], schema=schema), row_group_size=rows)
            start += rows
        lines = (_with_labels(line, own) for line, own in zip(shard.lines(), labels, strict=True))
        writer.add_key_value_metadata({VIDEOS: pack_videos(lines)})
    return True


def _relabel_tar(path: Path, labelling: Labelling) -> bool:
    changed = False
    for video in TarReader(path).metadata():
        changed = changed or not same_labels(labelling.of(video.entry), video.entry.labels or {})
    if not changed:
        return False
    entries = {video.entry.id: video.entry for video in TarReader(path).metadata()}
    with (
        atomic_path(path) as part,
        tarfile.open(path, "r:") as old,
        tarfile.open(part, "w:", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in old:
            content: Any = old.extractfile(member)
            if content is not None and member.name.endswith(f".{METADATA}"):
                line = content.read()
                line = _with_labels(line, labelling.of(entries[json.loads(line)["entry"]["id"]]))
                member.size, content = len(line), io.BytesIO(line)
            new.addfile(member, content)
    return True


def _with_labels(line: bytes, labels: Mapping[str, Label]) -> bytes:
    """The metadata of a video with other labels, and with whatever else it holds."""
    values = json.loads(line)
    values["entry"].pop("labels", None)
    if labels:
        values["entry"]["labels"] = dict(labels)
    return json.dumps(values).encode()
