"""The files that features are kept in: whose they are, and what they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.making import lay

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
