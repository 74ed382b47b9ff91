"""Feature files: arrays and metadata in .npz, .safetensors, or .npy with a sidecar."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import FeatureFileError

__all__ = [
    "ARRAY_DTYPES",
    "FeatureFormat",
    "check_checksum",
    "checksum",
    "read_features",
    "row_shapes",
    "sidecar_of",
    "write_features",
]

FeatureFormat = Literal["npz", "npy", "safetensors"]
Arrays = Mapping[str, NDArray[Any]]
Content = tuple[dict[str, NDArray[Any]], dict[str, Any]]

ARRAY_DTYPES: dict[str, Any] = {
    "features": np.float32,
    "start_s": np.float64,
    "end_s": np.float64,
    "frame_index": np.int64,
    "frame_valid": np.bool_,
    "boxes": np.float32,
    "face_score": np.float32,
    "track_id": np.int64,
}
"""The arrays of `VideoFeatures`."""


def row_shapes(num_steps: int) -> dict[str, tuple[int, ...]]:
    """Shape of one row of each array except the features, for windows of `num_steps` frames."""
    return {
        "start_s": (),
        "end_s": (),
        "frame_index": (num_steps,),
        "frame_valid": (num_steps,),
        "boxes": (num_steps, 4),
        "face_score": (num_steps,),
        "track_id": (),
    }


def sidecar_of(path: Path) -> Path:
    """The sidecar of an .npy file, for everything else: `talk.npy.json`, because `talk.json` may be another file."""
    return path.with_name(f"{path.name}.json")


def write_features(path: Path, arrays: Arrays, metadata: Mapping[str, Any]) -> Path:
    """Write a feature file atomically.

    Args:
        path: its suffix names the format.
        arrays: those of `ARRAY_DTYPES`.
        metadata: plain JSON values: `skipped`, `warnings`, `meta`.
    Returns:
        The path.
    Raises:
        FeatureFileError: another suffix, a folder or disk that cannot be written, or metadata that is not JSON.
    """
    suffix = _suffix(path)
    metadata = {**metadata, "sha256": checksum(arrays)}
    try:
        if suffix == "npy":
            # Both are written before either is renamed, so that a full disk leaves no half of the pair.
            with atomic_path(path) as part, atomic_path(sidecar_of(path)) as sidecar:
                sidecar.write_text(json.dumps({**_lists(arrays), **metadata}, indent=1), encoding="utf-8")
                with part.open("wb") as file:
                    np.save(file, arrays["features"], allow_pickle=False)
        else:
            with atomic_path(path) as part:
                _WRITERS[suffix](part, arrays, json.dumps(metadata))
    except OSError as error:
        raise FeatureFileError(
            f"cannot write {path}: {error.strerror or error}; check the folder and free space"
        ) from error
    except (TypeError, ValueError) as error:
        raise FeatureFileError(f"cannot write {path}: its metadata is not plain JSON: {error}") from error
    return path


def read_features(path: Path) -> Content:
    """Read what `write_features` wrote: arrays and metadata, not validated. No code in the file is executed.

    Raises:
        FeatureFileError: another suffix, not a file, or a zip bomb.
        Exception: whatever numpy, zipfile, safetensors and json raise for a broken file.
    """
    suffix = _suffix(path)
    for file in (path, sidecar_of(path)) if suffix == "npy" else (path,):
        if file.exists() and not file.is_file():  # a pipe would be waited for
            raise FeatureFileError("a folder, pipe or device is in the place of the file")
    return _READERS[suffix](path)


def checksum(arrays: Arrays) -> str:
    """SHA-256 of the arrays of `ARRAY_DTYPES`, in hex: names, dtypes, shapes and values."""
    digest = hashlib.sha256()
    for name in ARRAY_DTYPES:
        array = np.ascontiguousarray(arrays[name])
        if array.dtype.kind == "f" and name != "features":  # one NaN is as good as another, and JSON tells none apart
            array = np.where(np.isnan(array), array.dtype.type(np.nan), array)
        digest.update(f"{name} {array.dtype.str} {array.shape if array.size else 0};".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def check_checksum(arrays: Arrays, metadata: Mapping[str, Any]) -> None:
    """Compare arrays with the checksum stored beside them; files of version 0.1.0 have none.

    Raises:
        FeatureFileError: they differ.
    """
    if "sha256" in metadata and metadata["sha256"] != checksum(arrays):
        raise FeatureFileError("its arrays are damaged: they do not match their checksum; extract the video again")


def _suffix(path: Path) -> FeatureFormat:
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in get_args(FeatureFormat):
        raise FeatureFileError(f"{path.name!r} has no suffix of a feature file; expected .npz, .npy or .safetensors")
    return suffix  # type: ignore[return-value]


def _lists(arrays: Arrays) -> dict[str, Any]:
    lists = {name: array.tolist() for name, array in arrays.items() if name != "features"}
    lists["face_score"] = [[None if np.isnan(score) else score for score in row] for row in lists["face_score"]]
    return lists


def _write_npz(path: Path, arrays: Arrays, metadata: str) -> None:
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, notes=np.array(metadata), **arrays)


def _write_safetensors(path: Path, arrays: Arrays, metadata: str) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    tensors = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    try:
        save_file(tensors, path, metadata={"marlin_sdk": metadata})
    except SafetensorError as error:  # such as a full disk
        raise OSError(str(error)) from error


def _read_npz(path: Path) -> Content:
    with path.open("rb") as file:  # opened once: another process may replace it meanwhile
        size = os.fstat(file.fileno()).st_size
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
            if unpacked > size:  # `save` does not compress
                raise FeatureFileError(f"unpacks to {unpacked} bytes from {size}; it is refused")
            for member in archive.infolist():
                with archive.open(member) as content:
                    _check_npy_header(content, member.file_size)
        file.seek(0)
        with np.load(file, allow_pickle=False) as loaded:
            arrays = {name: loaded[name] for name in loaded.files}
    return arrays, json.loads(str(arrays.pop("notes")))


def _check_npy_header(file: IO[bytes], size: int) -> None:
    """Refuse an array that declares more values than its file has, before memory is taken for them."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize > size:
        raise FeatureFileError(f"declares an array of shape {shape} in {size} bytes; it is refused")


def _read_npy(path: Path) -> Content:
    with path.open("rb") as file:
        _check_npy_header(file, os.fstat(file.fileno()).st_size)
        file.seek(0)
        features = np.load(file, allow_pickle=False)
    content = json.loads(sidecar_of(path).read_text(encoding="utf-8"))
    rows = len(content["track_id"])
    steps = len(content["frame_index"][0]) if rows else 16
    arrays = {
        name: np.array(content[name], dtype=ARRAY_DTYPES[name]).reshape(rows, *shape)
        for name, shape in row_shapes(steps).items()
    }
    return {"features": features, **arrays}, content


def _read_safetensors(path: Path) -> Content:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        return arrays, json.loads(file.metadata()["marlin_sdk"])


_WRITERS = {"npz": _write_npz, "safetensors": _write_safetensors}
_READERS = {"npz": _read_npz, "npy": _read_npy, "safetensors": _read_safetensors}
