"""Read features from disk: of one video, or of a whole dump, whose videos are read on demand."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlin_sdk.dump.manifest import MANIFEST, ManifestEntry, manifests, read_manifest
from marlin_sdk.dump.parquet_reader import ParquetReader
from marlin_sdk.dump.settings import read_settings
from marlin_sdk.dump.webdataset import TarReader
from marlin_sdk.errors import FeatureFileError, MarlinError
from marlin_sdk.features import VideoFeatures
from marlin_sdk.features.labels import Label, LabelType, as_type, common_type, is_label, type_of
from marlin_sdk.features.tables import LabelledVideo, to_arrow, to_pandas

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["FeatureDump", "load_dump", "load_features", "open_parquet", "reading", "shard_entries"]

_SHARDS: dict[str, type[ParquetReader] | type[TarReader]] = {".parquet": ParquetReader, ".tar": TarReader}
_OPEN_SHARDS = 8  # shards whose index is cached, a few MB each
_UNSAFE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f\\]")  # absolute, "..", or an empty name


def load_features(path: str | Path) -> VideoFeatures | FeatureDump:
    """Read extracted features. No code in the files is executed.

    For code that a type checker reads, `load_dump` and `VideoFeatures.load` return one of the two.

    Args:
        path: a file of one video (`.npz`, `.npy`, `.safetensors`), the folder of a dump, or one of its shards
            (`.parquet`, `.tar`).
    Returns:
        The features of the video; or the dump, which reads each video on demand.
    Raises:
        FeatureFileError: no such file, or not one of marlin-sdk.
        MissingExtraError: pyarrow is not installed, for parquet.
    """
    path = Path(path)
    return FeatureDump(path) if path.is_dir() or path.suffix in _SHARDS else VideoFeatures.load(path)


def load_dump(path: str | Path) -> FeatureDump:
    """Open a dump: the features of many videos, each read on demand. No code in the files is executed.

    Args:
        path: the folder of a dump, or one of its shards (`.parquet`, `.tar`).
    Returns:
        The videos with features, by id.
    Raises:
        FeatureFileError: not a dump, or a manifest or shard that is broken or points outside the folder.
        MissingExtraError: pyarrow is not installed, for parquet.
    """
    return FeatureDump(path)


class FeatureDump(Mapping[str, VideoFeatures]):
    """The features of many videos, by id, in the order of the manifest.

    It holds the manifest and keeps no file open: it can be pickled, and used in the workers of a DataLoader.

    Attributes:
        folder: folder of the dump.
        entries: manifest entry of each video, including those without features.

    Args:
        path: the folder of a dump, or one of its shards.
    Raises:
        FeatureFileError: not a dump, or a manifest or shard that is broken or points outside the folder.
        MissingExtraError: pyarrow is not installed, for parquet.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if path.is_dir():
            self.folder = path
            self.entries = _read_entries(path)
        else:
            self.folder = path.parent
            self.entries = {entry.id: entry for entry in shard_entries(path)}
        for id, entry in self.entries.items():
            _check(id, entry, path)
        self._files = {id: entry.file for id, entry in self.entries.items() if entry.file is not None}
        self._shards: OrderedDict[str, ParquetReader | TarReader] = OrderedDict()

    @property
    def settings(self) -> dict[str, Any]:
        """Settings of the dump; empty if it has no `settings.json` (in a parquet dump `_settings.json`).

        Raises:
            FeatureFileError: that file is broken.
        """
        return read_settings(self.folder) or {}

    def labels(self, id: str) -> dict[str, Label]:
        """The labels of a video: the columns of the table of inputs, without those that are empty for it.

        Each has one type in all videos: int, float, bool or str. (Version 0.1.0 wrote all as text, "" for empty cells.)

        Raises:
            KeyError: no such video.
        """
        return {name: value for name, value in (self.entries[id].labels or {}).items() if value != ""}

    @property
    def label_types(self) -> dict[str, LabelType]:
        """The type of each label of the dump, in the order of their names: "int", "float", "bool" or "text"."""
        found: dict[str, set[LabelType]] = {}
        for id in self.entries:
            for name, value in self.labels(id).items():
                found.setdefault(name, set()).add(type_of(value))
        return {name: common_type(found[name]) or "text" for name in sorted(found)}

    def to_arrow(self) -> pa.Table:
        """All windows as one Arrow table, ready for `polars.from_arrow` and DuckDB (extra `[parquet]`).

        Memory holds the features once.

        Returns:
            A row per window, videos in the order of the dump: `id` (string), a column per label (int64, double, bool
            or string; null where the video lacks it), `start_s`, `end_s` (double, seconds), `track_id` (int64), and
            `feature` (fixed list of float). A video that was reduced to a vector is a row, of its first to its last
            window. A label of one of these names has `label_` before it. With `pool` or `keep_seq`, the vectors of a
            row follow one another, and `marlin_sdk.feature_shape` in the schema's metadata has their shape, as JSON.
        Raises:
            FeatureFileError: a file is missing or broken.
            ShapeError: the rows are not of one shape.
            MissingExtraError: pyarrow is not installed.
        """
        return to_arrow(self._labelled(), self.label_types)

    def to_pandas(self) -> pd.DataFrame:
        """All windows as one table, for pandas (extra `[pandas]`).

        Memory holds the features once.

        Returns:
            A row per window, as `to_arrow`, with the feature in the columns `f0`, `f1`, ... A label that some videos
            lack is NaN or None there.
        Raises:
            FeatureFileError: a file is missing or broken.
            ShapeError: the rows are not of one shape.
            ConfigError: a row is more than one vector.
            MissingExtraError: pandas is not installed.
        """
        return to_pandas(self._labelled(), self.label_types)

    def _labelled(self) -> Iterator[LabelledVideo]:
        types = self.label_types
        for id in self:
            labels = {name: as_type(value, types[name]) for name, value in self.labels(id).items()}
            yield LabelledVideo(id, labels, self._read(id))

    def __len__(self) -> int:
        """Number of videos with features."""
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        """Ids of the videos with features."""
        return iter(self._files)

    def __contains__(self, id: object) -> bool:
        """Whether a video has features; reads no file."""
        return id in self._files

    def __getitem__(self, id: str) -> VideoFeatures:
        """Read the features of a video; their `meta` also holds its id.

        Raises:
            KeyError: no such video, or it has no features; the message gives its status.
            FeatureFileError: its file is missing or broken.
            MissingExtraError: pyarrow is not installed, for parquet.
        """
        features = self._read(id)
        return replace(features, meta={**features.meta, "id": id})

    def _read(self, id: str) -> VideoFeatures:
        if id not in self._files:
            entry = self.entries.get(id)
            raise KeyError(f"{id}: {entry.status}, {entry.message}" if entry else id)
        name = self._files[id]
        path = self.find(name)
        if path.suffix not in _SHARDS:
            return VideoFeatures.load(path)
        with reading(path):
            if name not in self._shards:
                self._shards[name] = _SHARDS[path.suffix](path)
            self._shards.move_to_end(name)
            if len(self._shards) > _OPEN_SHARDS:
                self._shards.popitem(last=False)
            try:
                return self._shards[name].read(id)
            except KeyError as error:
                raise FeatureFileError(f"does not hold the video {id!r}, although the manifest says so") from error

    def find(self, file: str) -> Path:
        """The path of a file that an entry names.

        Raises:
            FeatureFileError: it is a link to a path outside the folder or to itself, or no file.
        """
        path = self.folder / file
        try:
            inside = path.resolve().is_relative_to(self.folder.resolve())
        except (OSError, RuntimeError) as error:  # since Python 3.13, links in a circle are an OSError when opened
            raise FeatureFileError(f"{path} is a link in a circle") from error
        if not inside:
            raise FeatureFileError(f"{path} is a link to a path outside {self.folder}; it is refused")
        if path.exists() and not path.is_file():
            raise FeatureFileError(f"{path} is a folder, pipe or device; expected a file")
        return path

    def __repr__(self) -> str:
        return f"FeatureDump({str(self.folder)!r}: {len(self)} videos with features of {len(self.entries)})"

    def __getstate__(self) -> dict[str, Any]:
        """Without the cached shards: another process reads its own."""
        return {**self.__dict__, "_shards": OrderedDict()}


def shard_entries(path: Path) -> list[ManifestEntry]:
    """The entries of the videos in a shard, with the shard as `file`.

    Raises:
        FeatureFileError: it is broken, or not a shard of marlin-sdk.
        MissingExtraError: pyarrow is not installed, for parquet.
    """
    if path.suffix not in _SHARDS:
        raise FeatureFileError(f"{path} is neither a folder nor a shard; expected .parquet or .tar")
    with reading(path):
        return [replace(video.entry, file=path.name) for video in _SHARDS[path.suffix](path).metadata()]


def open_parquet(path: Path) -> ParquetReader:
    """Open a shard of windows.

    Raises:
        FeatureFileError: it is broken, or not a shard of marlin-sdk.
        MissingExtraError: pyarrow is not installed.
    """
    with reading(path):
        return ParquetReader(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a broken or hostile file causes into one error that names the file."""
    try:
        yield
    except FileNotFoundError as error:
        raise FeatureFileError(f"no such feature file: {path}") from error
    except FeatureFileError as error:
        raise FeatureFileError(f"{path}: {error}") from error
    except MarlinError:
        raise
    except Exception as error:  # for a broken or hostile file, Arrow, tar, zip and JSON raise many kinds of error
        raise FeatureFileError(f"{path} is not a shard of marlin-sdk, or is truncated: {error!r:.300}") from error


def _read_entries(folder: Path) -> dict[str, ManifestEntry]:
    if not manifests(folder):
        raise FeatureFileError(f"{folder} holds no {MANIFEST}, so it is not a dump; to read one video, give its file")
    try:
        return read_manifest(folder)
    except (TypeError, RecursionError) as error:  # such as a list for an id, or a string for a time
        raise FeatureFileError(f"the manifest of {folder} holds an invalid entry: {error}") from error


def _check(id: str, entry: ManifestEntry, where: Path) -> None:
    """Reject an entry that is malformed, or that points outside the folder."""
    if not isinstance(id, str) or _UNSAFE.search(id):
        raise FeatureFileError(f"{where}: {id!r:.80} is not a valid id; expected a relative path without '..'")
    file, labels = entry.file, entry.labels
    if file is not None and (not isinstance(file, str) or _UNSAFE.search(file)):
        raise FeatureFileError(
            f"{where}: the file of {id!r} is {file!r:.80}, which is refused; expected a relative path without '..'"
        )
    if type(entry.rows) is not int or entry.rows < 0:
        raise FeatureFileError(f"{where}: the number of rows of {id!r} is {entry.rows!r:.80}; expected 0 or more")
    if labels is not None and not (isinstance(labels, dict) and all(map(is_label, labels.values()))):
        raise FeatureFileError(f"{where}: the labels of {id!r} are malformed")
