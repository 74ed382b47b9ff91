"""Features back from the disk: of one video, or of a whole dump, each video read when it is asked for."""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from marlin_sdk.dump.manifest import MANIFEST, ManifestEntry, read_manifest
from marlin_sdk.dump.parquet_reader import ParquetReader
from marlin_sdk.dump.webdataset import TarReader
from marlin_sdk.errors import FeatureFileError, MarlinError
from marlin_sdk.features import VideoFeatures

__all__ = ["FeatureDump", "load_features", "open_parquet", "reading", "shard_entries"]

_SHARDS: dict[str, type[ParquetReader] | type[TarReader]] = {".parquet": ParquetReader, ".tar": TarReader}
_OPEN_SHARDS = 8  # whose tables of contents are kept, of a few MB each
_LEADS_AWAY = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f\\]")  # absolute, "..", or no name at all


def load_features(path: str | Path) -> VideoFeatures | FeatureDump:
    """Read what was extracted. Nothing in the files is run.

    Args:
        path: a file of one video (`.npz`, `.npy`, `.safetensors`), the folder of a dump, or one of its shards
            (`.parquet`, `.tar`).
    Returns:
        The features of the video; or the dump, from which each video is read when it is asked for.
    Raises:
        FeatureFileError: nothing is there, or nothing of ours.
        MissingExtraError: parquet needs pyarrow.
    """
    path = Path(path)
    return FeatureDump(path) if path.is_dir() or path.suffix in _SHARDS else VideoFeatures.load(path)


class FeatureDump(Mapping[str, VideoFeatures]):
    """The features of many videos, by id, in the order of the manifest.

    It holds the manifest, and no file open: it may be pickled, and used in the workers of a DataLoader.

    Attributes:
        folder: of the dump.
        entries: what became of each video, those without features too.

    Args:
        path: the folder of a dump, or one of its shards.
    Raises:
        FeatureFileError: no dump, or a manifest or shard that is broken or leads out of the folder.
        MissingExtraError: parquet needs pyarrow.
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
        """What the dump was made with; empty where nothing says so.

        Raises:
            FeatureFileError: `settings.json` is broken.
        """
        path = self.folder / "settings.json"
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            raise FeatureFileError(f"{path} cannot be read: {error}") from error
        if not isinstance(settings, dict):
            raise FeatureFileError(f"{path} holds a {type(settings).__name__}, expected an object")
        return settings

    def labels(self, id: str) -> dict[str, str]:
        """The label columns of a video, carried through from the table of inputs.

        Raises:
            KeyError: no such video.
        """
        return dict(self.entries[id].labels or {})

    def __len__(self) -> int:
        """Number of videos with features."""
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        """Their ids."""
        return iter(self._files)

    def __contains__(self, id: object) -> bool:
        """Whether a video has features; nothing is read."""
        return id in self._files

    def __getitem__(self, id: str) -> VideoFeatures:
        """Read a video; its `meta` holds its id too.

        Raises:
            KeyError: no such video, or it has no features; the message says what became of it.
            FeatureFileError: its file is missing, broken, or none of ours.
            MissingExtraError: parquet needs pyarrow.
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
                raise FeatureFileError(f"does not hold the video {id!r}, which the manifest says it does") from error

    def find(self, file: str) -> Path:
        """The path of a file that an entry names.

        Raises:
            FeatureFileError: it is a link that leads out of the folder.
        """
        path = self.folder / file
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise FeatureFileError(f"{path} is a link that leads out of {self.folder}; it is refused")
        return path

    def __repr__(self) -> str:
        return f"FeatureDump({str(self.folder)!r}: {len(self)} videos with features of {len(self.entries)})"

    def __getstate__(self) -> dict[str, Any]:
        """Without the shards that were read: another process reads its own."""
        return {**self.__dict__, "_shards": OrderedDict()}


def shard_entries(path: Path) -> list[ManifestEntry]:
    """The entries of the videos that a shard holds, `file` being the shard.

    Raises:
        FeatureFileError: it is broken, or none of ours.
        MissingExtraError: parquet needs pyarrow.
    """
    if path.suffix not in _SHARDS:
        raise FeatureFileError(f"{path}: no such folder, or no shard; expected .parquet or .tar")
    with reading(path):
        return [replace(note.entry, file=path.name) for note in _SHARDS[path.suffix](path).metadata()]


def open_parquet(path: Path) -> ParquetReader:
    """A shard of windows.

    Raises:
        FeatureFileError: it is broken, or none of ours.
        MissingExtraError: pyarrow is not installed.
    """
    with reading(path):
        return ParquetReader(path)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make one error that names the file of all that a broken or hostile one leads to."""
    try:
        yield
    except FileNotFoundError as error:
        raise FeatureFileError(f"no such feature file: {path}") from error
    except FeatureFileError as error:
        raise FeatureFileError(f"{path}: {error}") from error
    except MarlinError:
        raise
    except Exception as error:  # a hostile or broken file fails in as many ways as Arrow, tar, zip and JSON know
        raise FeatureFileError(f"{path} is no shard of marlin-sdk, or is cut off: {error!r:.300}") from error


def _read_entries(folder: Path) -> dict[str, ManifestEntry]:
    if not any(folder.glob(MANIFEST)):
        raise FeatureFileError(f"{folder} holds no {MANIFEST}, so it is no dump; to read one video, name its file")
    try:
        return read_manifest(folder)
    except (TypeError, RecursionError) as error:  # a list for an id, a text for a time
        raise FeatureFileError(f"the manifest of {folder} holds what is no entry: {error}") from error


def _check(id: str, entry: ManifestEntry, where: Path) -> None:
    """Refuse an entry that would lead out of the folder, or that is not what it should be."""
    if not isinstance(id, str) or _LEADS_AWAY.search(id):
        raise FeatureFileError(f"{where}: {id!r:.80} is no id of a video; expected a relative path without '..'")
    file, labels = entry.file, entry.labels
    if file is not None and (not isinstance(file, str) or _LEADS_AWAY.search(file)):
        raise FeatureFileError(f"{where}: the rows of {id!r} are said to be in {file!r:.80}, which is refused")
    if type(entry.rows) is not int or entry.rows < 0:
        raise FeatureFileError(f"{where}: {id!r} is said to have {entry.rows!r:.80} rows")
    if labels is not None and not (
        isinstance(labels, dict) and all(isinstance(value, str) for value in labels.values())
    ):
        raise FeatureFileError(f"{where}: the labels of {id!r} are malformed")
