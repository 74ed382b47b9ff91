"""How features are kept: a file for each video, or shards of many; every file appears whole or not at all."""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol, get_args

from marlin_sdk.atomic import atomic_path
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.parquet import ParquetShard, import_pyarrow
from marlin_sdk.dump.recovery import last_number, recover_entries, remove_leftovers
from marlin_sdk.dump.webdataset import TarShard, import_webdataset
from marlin_sdk.errors import ConfigError, FeatureFileError, MarlinError
from marlin_sdk.features import FeatureFormat, VideoFeatures

__all__ = ["FeatureWriter", "FileWriter", "ShardWriter", "open_writer", "recover_entries", "remove_leftovers"]

ShardFormat = Literal["parquet", "webdataset"]
_FORMATS = (*get_args(FeatureFormat), *get_args(ShardFormat))
_MAX_AGE_S = 600.0
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_WORDS = re.compile(
    r"requested and \d+ written|os error 28|StorageFull"
)  # NumPy and safetensors keep the number to themselves


class FeatureWriter(Protocol):
    """Keeps the rows of videos in the folder of a dump."""

    def write(self, entry: ManifestEntry, features: VideoFeatures) -> list[ManifestEntry]:
        """Keep the rows of a video.

        Args:
            entry: its line for the manifest, without `file`.
            features: its rows; there may be none.
        Returns:
            The entries, with `file`, of videos that are now safely on the disk: this one, earlier ones, or none yet.
        Raises:
            FeatureFileError: the disk is full or cannot be written; no partial file is left, and the videos that were
                not returned are lost, to be done again.
            ConfigError: the format cannot hold these features; the videos before are safe.
        """

    def close(self) -> list[ManifestEntry]:
        """Seal what is open.

        Returns:
            Its entries.
        Raises:
            FeatureFileError: as `write`.
        """

    def abandon(self) -> None:
        """Throw away what is not sealed, and leave no partial file."""


def open_writer(
    folder: Path,
    format: str,
    *,
    suffix: str = "",
    shard_rows: int = 20_000,
    max_age_s: float = _MAX_AGE_S,
    told: Collection[str] = (),
) -> FeatureWriter:
    """Make what keeps features in a dump.

    Args:
        folder: of the dump.
        format: "npz", "npy" or "safetensors" for a file a video; "parquet" or "webdataset" for shards.
        suffix: tells the shards of this run apart from those of others that share the folder (`Shard.suffix`).
        shard_rows: of a shard, about: it is sealed after the video that reaches them.
        max_age_s: of a shard, in seconds: older ones are sealed by the next video.
        told: names of files that a manifest tells of: one that was removed must not come back with other rows.
    Raises:
        ConfigError: another format, or no rows.
        MissingExtraError: the format's extra is not installed.
    """
    if format not in _FORMATS:
        raise ConfigError(f"format {format!r}; expected one of {', '.join(_FORMATS)}")
    if shard_rows < 1:
        raise ConfigError(f"shard-size is {shard_rows} rows; expected at least 1")
    if format == "parquet":
        import_pyarrow()
        return ShardWriter(folder, ParquetShard, "parquet", suffix, shard_rows, max_age_s, told)
    if format == "webdataset":
        import_webdataset()
        return ShardWriter(folder, TarShard, "tar", suffix, shard_rows, max_age_s, told)
    return FileWriter(folder, format)


class FileWriter:
    """Keeps each video in a file called by its id.

    Args:
        folder: of the dump.
        format: suffix of the files.
    """

    def __init__(self, folder: Path, format: str) -> None:
        self._folder = folder
        self._format = format

    def write(self, entry: ManifestEntry, features: VideoFeatures) -> list[ManifestEntry]:
        """See `FeatureWriter`; the file is there at once."""
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

    def abandon(self) -> None:
        """See `FeatureWriter`; nothing is open."""


class ShardWriter:
    """Keeps many videos in each file: `features-00001.parquet`, `features-00002.parquet`, ...

    Args:
        folder: of the dump.
        begin: starts the content of a shard.
        kind: suffix of the files.
        suffix: see `open_writer`.
        shard_rows: see `open_writer`; a video without rows counts as one.
        max_age_s: see `open_writer`.
        told: see `open_writer`.
    """

    def __init__(
        self,
        folder: Path,
        begin: Callable[[Path], ParquetShard | TarShard],
        kind: str,
        suffix: str,
        shard_rows: int,
        max_age_s: float,
        told: Collection[str],
    ) -> None:
        self._folder, self._begin, self._kind, self._suffix = folder, begin, kind, suffix
        self._shard_rows, self._max_age_s = shard_rows, max_age_s
        names = [*(path.name for path in folder.glob("features*")), *told]
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
        with self._all_or_nothing():
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
            with self._all_or_nothing():
                self._seal()
        self.abandon()
        return self._take_sealed()

    def abandon(self) -> None:
        """See `FeatureWriter`."""
        if self._shard is not None:
            self._shard.discard()
        if self._place is not None:
            stop = InterruptedError("abandoned")  # told to `atomic_path`, which then removes the file
            self._place.__exit__(type(stop), stop, None)
        self._shard = self._place = None
        self._open, self._rows = [], 0

    def _start(self) -> None:
        self._number += 1
        self._place = atomic_path(self._folder / self._name)
        self._shard = self._begin(self._place.__enter__())
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
    def _all_or_nothing(self) -> Iterator[None]:
        try:
            yield
        except MarlinError:
            raise  # a video that cannot be kept: nothing of it has been written
        except OSError as error:
            self.abandon()
            raise _unwritable(self._folder / self._name, error) from error
        except BaseException:
            self.abandon()
            raise


def _unwritable(path: Path, error: OSError) -> FeatureFileError:
    if error.errno in _FULL or (error.errno is None and _FULL_WORDS.search(str(error))):
        return FeatureFileError(
            f"the disk is full: {path} was not written; what is finished is kept, so free some space and run again"
        )
    return FeatureFileError(f"cannot write {path}: {error.strerror or error}; check the folder and run again")
