"""Write features: one file per video, or shards of many videos. Every file is written atomically."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, get_args

from marlin_sdk.atomic import atomic_path
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.parquet import ParquetShard, import_pyarrow
from marlin_sdk.dump.recovery import last_number, recover_entries, remove_leftovers
from marlin_sdk.dump.webdataset import TarShard, import_webdataset
from marlin_sdk.errors import ConfigError, FeatureFileError, MarlinError
from marlin_sdk.features import FeatureFormat, VideoFeatures
from marlin_sdk.features.labels import LabelType

__all__ = ["FeatureWriter", "FileWriter", "ShardWriter", "open_writer", "recover_entries", "remove_leftovers"]

ShardFormat = Literal["parquet", "webdataset"]
_FORMATS = (*get_args(FeatureFormat), *get_args(ShardFormat))
_MAX_AGE_S = 600.0
_DISK_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_DISK_FULL_TEXT = re.compile(
    r"requested and \d+ written|os error 28|StorageFull"
)  # NumPy and safetensors do not pass on the errno


class FeatureWriter(Protocol):
    """Writes the rows of videos to the folder of a dump."""

    def write(self, entry: ManifestEntry, features: VideoFeatures) -> list[ManifestEntry]:
        """Write the rows of a video.

        Args:
            entry: its manifest entry, without `file`.
            features: its rows; there may be none.
        Returns:
            The entries, with `file`, of videos that are now on disk: this one, earlier ones, or none yet.
        Raises:
            FeatureFileError: the disk is full or cannot be written; no partial file is left, and videos that were not
                returned are lost, and must be embedded again.
            ConfigError: the format cannot hold these features; earlier videos are unaffected.
        """

    def close(self) -> list[ManifestEntry]:
        """Seal open files.

        Returns:
            Their entries.
        Raises:
            FeatureFileError: as `write`.
        """

    def discard(self) -> None:
        """Discard what is not sealed, and leave no partial file."""


def open_writer(
    folder: Path,
    format: str,
    *,
    suffix: str = "",
    shard_rows: int = 20_000,
    max_age_s: float = _MAX_AGE_S,
    named_files: Collection[str] = (),
    label_types: Mapping[str, LabelType] | None = None,
) -> FeatureWriter:
    """Create the writer of a format.

    Args:
        folder: folder of the dump.
        format: "npz", "npy" or "safetensors" for one file per video; "parquet" or "webdataset" for shards.
        suffix: distinguishes the shards of this run from those of other runs in the folder (`Shard.suffix`).
        shard_rows: approximate rows per shard: it is sealed after the video that reaches them.
        max_age_s: maximum age of an open shard, in seconds: an older one is sealed by the next video.
        named_files: files that a manifest names: the name of a removed one must not be reused for other rows.
        label_types: the type of each label of the dump, read when a parquet shard begins.
    Raises:
        ConfigError: no such format, or fewer than one row.
        MissingExtraError: the format's extra is not installed.
    """
    if format not in _FORMATS:
        raise ConfigError(f"format {format!r}; expected one of {', '.join(_FORMATS)}")
    if shard_rows < 1:
        raise ConfigError(f"shard-size is {shard_rows} rows; expected at least 1")
    if format == "parquet":
        import_pyarrow()
        open_shard = partial(ParquetShard, types=label_types)
        return ShardWriter(folder, open_shard, "parquet", suffix, shard_rows, max_age_s, named_files)
    if format == "webdataset":
        import_webdataset()
        return ShardWriter(folder, TarShard, "tar", suffix, shard_rows, max_age_s, named_files)
    return FileWriter(folder, format)


class FileWriter:
    """Writes each video to a file named after its id.

    Args:
        folder: folder of the dump.
        format: suffix of the files.
    """

    def __init__(self, folder: Path, format: str) -> None:
        self._folder = folder
        self._format = format

    def write(self, entry: ManifestEntry, features: VideoFeatures) -> list[ManifestEntry]:
        """See `FeatureWriter`; the file is written immediately."""
        name = f"{entry.id}.{self._format}"
        try:
            features.save(self._folder / name)
        except FeatureFileError as error:
            if isinstance(error.__cause__, OSError):
                raise _unwritable(self._folder / name, error.__cause__) from error
            raise
        return [replace(entry, file=name)]

    def close(self) -> list[ManifestEntry]:
        """See `FeatureWriter`; nothing is open."""
        return []

    def discard(self) -> None:
        """See `FeatureWriter`; nothing is open."""


class ShardWriter:
    """Writes many videos to each file: `features-00001.parquet`, `features-00002.parquet`, ...

    Args:
        folder: folder of the dump.
        open_shard: opens a shard for writing.
        kind: suffix of the files.
        suffix: see `open_writer`.
        shard_rows: see `open_writer`; a video without rows counts as one.
        max_age_s: see `open_writer`.
        named_files: see `open_writer`.
    """

    def __init__(
        self,
        folder: Path,
        open_shard: Callable[[Path], ParquetShard | TarShard],
        kind: str,
        suffix: str,
        shard_rows: int,
        max_age_s: float,
        named_files: Collection[str],
    ) -> None:
        self._folder, self._open_shard, self._kind, self._suffix = folder, open_shard, kind, suffix
        self._shard_rows, self._max_age_s = shard_rows, max_age_s
        names = [*(path.name for path in folder.glob("features*")), *named_files]
        self._number = last_number(names, suffix, kind)
        self._shard: ParquetShard | TarShard | None = None
        self._place: AbstractContextManager[Path] | None = None
        self._open: list[ManifestEntry] = []
        self._sealed: list[ManifestEntry] = []
        self._rows, self._since_s = 0, 0.0

    @property
    def _name(self) -> str:
        return f"features{self._suffix}-{self._number:05d}.{self._kind}"

    def write(self, entry: ManifestEntry, features: VideoFeatures) -> list[ManifestEntry]:
        """See `FeatureWriter`."""
        with self._discard_on_error():
            if self._shard is not None and not self._shard.takes(entry, features):
                self._seal()
            if self._shard is None:
                self._start()
            assert self._shard is not None
            entry = replace(entry, file=self._name)
            self._shard.add(entry, features)
            self._open.append(entry)
            self._rows += max(len(features), 1)
            if self._rows >= self._shard_rows or time.monotonic() - self._since_s >= self._max_age_s:
                self._seal()
        return self._take_sealed()

    def close(self) -> list[ManifestEntry]:
        """See `FeatureWriter`."""
        if self._open:
            with self._discard_on_error():
                self._seal()
        self.discard()
        return self._take_sealed()

    def discard(self) -> None:
        """See `FeatureWriter`."""
        if self._shard is not None:
            self._shard.discard()
        if self._place is not None:
            stop = InterruptedError("discarded")  # makes `atomic_path` remove the file
            self._place.__exit__(type(stop), stop, None)
        self._shard = self._place = None
        self._open, self._rows = [], 0

    def _start(self) -> None:
        self._number += 1
        self._place = atomic_path(self._folder / self._name)
        self._shard = self._open_shard(self._place.__enter__())
        self._since_s = time.monotonic()

    def _seal(self) -> None:
        assert self._shard is not None
        assert self._place is not None
        self._shard.finish()
        place, self._place = self._place, None
        place.__exit__(None, None, None)
        self._sealed += self._open
        self._shard, self._open, self._rows = None, [], 0

    def _take_sealed(self) -> list[ManifestEntry]:
        sealed, self._sealed = self._sealed, []
        return sealed

    @contextmanager
    def _discard_on_error(self) -> Iterator[None]:
        try:
            yield
        except MarlinError:
            raise  # this video cannot be stored, and nothing of it was written
        except OSError as error:
            self.discard()
            raise _unwritable(self._folder / self._name, error) from error
        except BaseException:
            self.discard()
            raise


def _unwritable(path: Path, error: OSError) -> FeatureFileError:
    if error.errno in _DISK_FULL_ERRNOS or (error.errno is None and _DISK_FULL_TEXT.search(str(error))):
        return FeatureFileError(
            f"the disk is full: {path} was not written; finished videos are kept: free some space and run again"
        )
    return FeatureFileError(f"cannot write {path}: {error.strerror or error}; check the folder and run again")
