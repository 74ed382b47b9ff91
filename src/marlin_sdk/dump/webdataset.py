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

__all__ = ["METADATA", "TarReader", "TarShard", "import_webdataset", "key_to_id", "sample_key"]

_FEATURES, _ROWS, METADATA = "features.npy", "rows.npz", "json"


def import_webdataset() -> Any:
    """Import webdataset, which only writing needs.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import webdataset
    except ImportError as error:
        raise MissingExtraError("format webdataset", "webdataset") from error
    return webdataset


def sample_key(id: str) -> str:
    """Convert an id to a sample key: folders stay; dots are escaped, because WebDataset cuts keys at the first one."""
    key = quote(id, safe="/", errors="surrogateescape").replace(".", "%2E")
    return f"%5F{key[1:]}" if key.startswith("_") else key  # WebDataset skips names like __this__ as metadata


def key_to_id(key: str) -> str:
    """Convert a sample key back to its id."""
    return unquote(key, errors="surrogateescape")


class TarShard:
    """A shard that is being written.

    Args:
        part: path of the partial file.
    Raises:
        MissingExtraError: webdataset is not installed.
    """

    def __init__(self, part: Path) -> None:
        writer = import_webdataset().TarWriter
        self._stream = part.open("wb")
        self._writer = writer(self._stream, encoder=False, format="PAX_FORMAT", user="", group="", mode=0o644)

    def takes(self, entry: ManifestEntry, features: VideoFeatures) -> bool:
        """Whether a video can be in the same shard as those before it; here, all can."""
        return True

    def add(self, entry: ManifestEntry, features: VideoFeatures) -> None:
        """Write a video.

        Raises:
            ConfigError: its rows were reduced to a vector.
            FeatureFileError: metadata that is not JSON.
            OSError: the disk is full.
        """
        metadata = VideoMetadata.of(entry, features).to_json().encode()
        array, rows = io.BytesIO(), io.BytesIO()
        np.save(array, np.ascontiguousarray(features.features, dtype=np.float32), allow_pickle=False)
        own = {name: np.asarray(getattr(features, name), dtype=dtype) for name, dtype in ROW_DTYPES.items()}
        np.savez(rows, allow_pickle=False, **own)
        key = sample_key(entry.id)
        self._writer.write({"__key__": key, _FEATURES: array.getvalue(), _ROWS: rows.getvalue(), METADATA: metadata})

    def finish(self) -> None:
        """Write the end of the archive.

        Raises:
            OSError: the disk is full.
        """
        self._writer.close()
        self._stream.close()

    def discard(self) -> None:
        """Close the file, whose content is not used."""
        for file in (self._writer, self._stream):
            with suppress(Exception):  # the disk may be full
                file.close()


class TarReader:
    """A sealed shard. It keeps no file open, so that a forked process can use it.

    Args:
        path: path of the shard.
    Raises:
        Exception: whatever a broken or hostile file causes; `marlin_sdk.dump.reading` turns it into one error.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, dict[str, tuple[int, int]]] = {}
        size = path.stat().st_size
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                folder, _, name = member.name.rpartition("/")
                stem, _, kind = name.partition(".")
                if not member.isreg() or member.issparse() or kind not in (_FEATURES, _ROWS, METADATA):
                    continue
                if member.offset_data + member.size > size:
                    raise FeatureFileError(f"is truncated within {member.name!r}")
                id = key_to_id(f"{folder}/{stem}" if folder else stem)
                self._members.setdefault(id, {})[kind] = (member.offset_data, member.size)

    def metadata(self) -> Iterator[VideoMetadata]:
        """Metadata of every video, in the order of the archive."""
        with self.path.open("rb") as file:
            for id in self._members:
                yield self._read_metadata(file, id)

    def _read_metadata(self, file: Any, id: str) -> VideoMetadata:
        metadata = VideoMetadata.from_json(self._read(file, id, METADATA))
        if metadata.entry.id != id:
            raise FeatureFileError(f"the metadata of the sample {id!r} is of {metadata.entry.id!r:.80}")
        return metadata

    def _read(self, file: Any, id: str, kind: str) -> bytes:
        offset, size = self._members[id][kind]
        file.seek(offset)
        data: bytes = file.read(size)
        if len(data) < size:
            raise FeatureFileError(f"is truncated within {id!r}")
        return data

    def read(self, id: str) -> VideoFeatures:
        """The features of a video.

        Raises:
            KeyError: it is not here.
        """
        with self.path.open("rb") as file:
            metadata = self._read_metadata(file, id)
            features = np.load(io.BytesIO(self._read(file, id, _FEATURES)), allow_pickle=False)
            rows = _unzip(self._read(file, id, _ROWS))
        return metadata.join({"features": features, **rows})


def _unzip(data: bytes) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(member.file_size for member in archive.infolist()) > len(data):
            raise FeatureFileError("its arrays unpack to more than their size, so marlin-sdk did not write them")
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in ROW_DTYPES}
