"""The files that features are kept in: whose they are, and what they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.making import lay
from tests.unit.dump.example_dumps import random_features, write_dump

from marlin_sdk import FeatureDump, VideoFeatures
from marlin_sdk.errors import FeatureFileError
from marlin_sdk.features.files import ARRAY_DTYPES, read_features, row_shapes, sidecar_of, write_features

NOTES = {"skipped": [], "warnings": ["one"], "meta": {"source": "talk.mp4"}}
ARRAYS = {"features": np.ones((2, 3), np.float32)} | {
    name: np.ones((2, *shape), ARRAY_DTYPES[name]) for name, shape in row_shapes(4).items()
}


def test_sidecar_leaves_a_json_of_ones_own_alone(tmp_path: Path) -> None:
    own = lay(tmp_path / "talk.json", b'{"speaker": "Ada"}')
    write_features(tmp_path / "talk.npy", ARRAYS, NOTES)
    assert own.read_bytes() == b'{"speaker": "Ada"}'
    assert {file.name for file in tmp_path.iterdir()} == {"talk.json", "talk.npy", "talk.npy.json"}
    assert sidecar_of(tmp_path / "talk.npy") == tmp_path / "talk.npy.json"


@pytest.mark.parametrize("suffix", ["npz", "npy", "safetensors", "NPZ"])
def test_arrays_and_notes_come_back(tmp_path: Path, suffix: str) -> None:
    arrays, notes = read_features(write_features(tmp_path / f"talk.{suffix}", ARRAYS, NOTES))
    assert {name: notes[name] for name in NOTES} == NOTES
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array, strict=True)


def test_other_suffix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        FeatureFileError, match=r"'talk\.csv' has no suffix of a feature file; expected \.npz, \.npy or"
    ):
        write_features(tmp_path / "talk.csv", ARRAYS, NOTES)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", ["npz", "npy", "safetensors"])
def test_flipped_value_does_not_pass_for_a_good_one(tmp_path: Path, suffix: str) -> None:
    features = random_features(4)
    path = features.save(tmp_path / f"a.{suffix}")
    data = bytearray(path.read_bytes())
    at = data.index(features.features[2].tobytes())
    data[at + 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(FeatureFileError, match=r"checksum|CRC"):
        VideoFeatures.load(path)


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_flipped_value_in_a_shard_does_not_pass(tmp_path: Path, format: str) -> None:
    features = random_features(4)
    write_dump(tmp_path, {"a": features}, format)
    (shard,) = (path for path in tmp_path.iterdir() if path.suffix in (".parquet", ".tar"))
    data = bytearray(shard.read_bytes())
    at = data.find(features.features[2].tobytes())
    assert at > 0
    data[at + 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(FeatureFileError, match="do not match their checksum"):
        FeatureDump(tmp_path)["a"]


def test_archive_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", features=np.zeros((1000, 1000), np.float32), notes=np.array("{}"))
    with pytest.raises(FeatureFileError, match="it is refused"):
        VideoFeatures.load(tmp_path / "a.npz")


def test_array_that_declares_more_than_its_file_has_is_refused(tmp_path: Path) -> None:
    path = random_features(2).save(tmp_path / "a.npy")
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 100)})
    with pytest.raises(FeatureFileError, match="declares an array of shape"):
        VideoFeatures.load(path)
