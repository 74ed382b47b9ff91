"""Shards of videos in WebDataset's tar files: `KEY.features.npy`, `KEY.rows.npz` and `KEY.json` for each video."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.metadata import ROW_DTYPES, VideoMetadata
from marlin_sdk.errors import FeatureFileError, MissingExtraError
from marlin_sdk.features import VideoFeatures

__all__ = ["TarReader", "TarShard", "import_webdataset", "key_to_id", "sample_key"]

_FEATURES, _ROWS, _NOTE = "features.npy", "rows.npz", "json"


def import_webdataset() -> Any:
    """webdataset, which is needed for writing only.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import webdataset
    except ImportError as error:
        raise MissingExtraError("format webdataset", "webdataset") from error
    return webdataset


def sample_key(id: str) -> str:
    """An id as a key of a sample: folders stay, dots are escaped because WebDataset cuts keys at the first one."""
    key = quote(id, safe="/", errors="surrogateescape").replace(".", "%2E")
    return f"%5F{key[1:]}" if key.startswith("_") else key  # names like __this__ are passed over as metadata


def key_to_id(key: str) -> str:
    """The id that `sample_key` was given."""
    return unquote(key, errors="surrogateescape")


class TarShard:
    """A shard that is being written.

    Args:
        part: where to write.
    Raises:
        MissingExtraError: webdataset is not installed.
    """

    def __init__(self, part: Path) -> None:
        writer = import_webdataset().TarWriter
        self._stream = part.open("wb")
        self._writer = writer(self._stream, encoder=False, format="PAX_FORMAT", user="", group="", mode=0o644)

    def takes(self, entry: ManifestEntry, features: VideoFeatures) -> bool:
        """Whether a video can be in one shard with those before it; here, all can."""
        return True

    def add(self, entry: ManifestEntry, features: VideoFeatures) -> None:
        """Write a video.

        Raises:
            ConfigError: its rows were reduced to a vector.
            FeatureFileError: metadata that is not JSON.
            OSError: the disk is full.
        """
        note = VideoMetadata.of(entry, features).to_json().encode()
        array, rows = io.BytesIO(), io.BytesIO()
        np.save(array, np.ascontiguousarray(features.features, dtype=np.float32), allow_pickle=False)
        own = {name: np.asarray(getattr(features, name), dtype=dtype) for name, dtype in ROW_DTYPES.items()}
        np.savez(rows, allow_pickle=False, **own)
        key = sample_key(entry.id)
        self._writer.write({"__key__": key, _FEATURES: array.getvalue(), _ROWS: rows.getvalue(), _NOTE: note})

    def finish(self) -> None:
        """Write the end of the archive.

        Raises:
            OSError: the disk is full.
        """
        self._writer.close()
        self._stream.close()

    def discard(self) -> None:
        """Let go of the file; what is in it is worth nothing."""
        for file in (self._writer, self._stream):
            with suppress(Exception):  # the disk may be full
                file.close()


class TarReader:
    """A sealed shard. It holds no open file, so that a forked process may go on with it.

    Args:
        path: of the shard.
    Raises:
        Exception: whatever a broken or hostile file leads to; `marlin_sdk.dump.reading` makes it one error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[str, dict[str, tuple[int, int]]] = {}
        size = path.stat().st_size
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                stem, _, kind = name.partition(".")
                if not member.isreg() or member.issparse() or kind not in (_FEATURES, _ROWS, _NOTE):
                    continue
                if member.offset_data + member.size > size:
                    raise FeatureFileError(f"is cut off within {member.name!r}")
                id = key_to_id(f"{folder}/{stem}" if folder else stem)
                self._places.setdefault(id, {})[kind] = (member.offset_data, member.size)

    def metadata(self) -> Iterator[VideoMetadata]:
        """Every video, in the order of the archive."""
        with self.path.open("rb") as file:
            for id in self._places:
                yield self._note(file, id)

    def _note(self, file: Any, id: str) -> VideoMetadata:
        note = VideoMetadata.from_json(self._read(file, id, _NOTE))
        if note.entry.id != id:
            raise FeatureFileError(f"the sample {id!r} says that it is {note.entry.id!r:.80}")
        return note

    def _read(self, file: Any, id: str, kind: str) -> bytes:
        offset, size = self._places[id][kind]
        file.seek(offset)
        data: bytes = file.read(size)
        if len(data) < size:
            raise FeatureFileError(f"is cut off within {id!r}")
        return data

    def read(self, id: str) -> VideoFeatures:
        """The features of a video.

        Raises:
            KeyError: it is not here.
        """
        with self.path.open("rb") as file:
            note = self._note(file, id)
            features = np.load(io.BytesIO(self._read(file, id, _FEATURES)), allow_pickle=False)
            rows = _unzip(self._read(file, id, _ROWS))
        return note.join({"features": features, **rows})


def _unzip(data: bytes) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(data):
            raise FeatureFileError("its arrays unpack to more than their size, and were not packed by marlin-sdk")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in ROW_DTYPES}
