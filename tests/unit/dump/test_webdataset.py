from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.dump.example_dumps import random_features, run_python, write_dump

from marlin_sdk import ConfigError
from marlin_sdk.dump.webdataset import key_to_id, sample_key
from marlin_sdk.inputs.videos import check_id


def allowed(id: str) -> bool:
    try:
        return check_id(id) == id
    except (ConfigError, UnicodeEncodeError):
        return False


@given(st.text(min_size=1, alphabet=st.one_of(st.sampled_from("./%_@+ \udcff"), st.characters())).filter(allowed))
def test_a_key_holds_no_dot_keeps_folders_and_gives_back_its_id(id: str) -> None:
    key = sample_key(id)
    assert "." not in key
    assert key.isascii()
    assert not key.startswith("_")
    assert key.count("/") == id.count("/")
    assert key_to_id(key) == id


def test_the_webdataset_library_reads_a_sample_a_video(tmp_path: Path) -> None:
    long = "folder/" * 30 + "x" * 120
    videos = {id: random_features(index + 1, seed=index) for index, id in enumerate(("s.1/a.v2", "__x__/y", long))}
    write_dump(tmp_path, videos, "webdataset", labels={id: {"emotion": "joy"} for id in videos})
    script = """
import sys, json
import numpy as np
import webdataset
dataset = webdataset.WebDataset(sys.argv[1], shardshuffle=False, empty_check=False).decode()
for sample in dataset:
    entry = sample["json"]["entry"]
    arrays = sample["features.npy"].tolist(), sample["rows.npz"]["start_s"].tolist()
    print(json.dumps([entry["id"], entry["labels"], *arrays]))
"""
    samples = [json.loads(text) for text in run_python(script, str(tmp_path / "features-00001.tar")).splitlines()]
    assert [(id, labels) for id, labels, _, _ in samples] == [(id, {"emotion": "joy"}) for id in videos]
    for (_, _, values, start_s), features in zip(samples, videos.values(), strict=True):
        np.testing.assert_array_equal(np.float32(values), features.features)
        np.testing.assert_array_equal(start_s, features.start_s)


def test_arrays_are_stored_without_pickles(tmp_path: Path) -> None:
    write_dump(tmp_path, {"a": random_features(2)}, "webdataset")
    with tarfile.open(tmp_path / "features-00001.tar") as archive:
        members = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    assert sorted(members) == ["a.features.npy", "a.json", "a.rows.npz"]
    assert np.load(io.BytesIO(members["a.features.npy"]), allow_pickle=False).shape == (2, 8)
    with np.load(io.BytesIO(members["a.rows.npz"]), allow_pickle=False) as rows:
        assert rows["boxes"].shape == (2, 16, 4)


@pytest.mark.parametrize("id", ["a.b/c.d", "a/b", "ä/日.本", "100%25/x"])
def test_keys_are_what_one_would_write_by_hand(id: str) -> None:
    assert (
        sample_key(id)
        == {
            "a.b/c.d": "a%2Eb/c%2Ed",
            "a/b": "a/b",
            "ä/日.本": "%C3%A4/%E6%97%A5%2E%E6%9C%AC",
            "100%25/x": "100%2525/x",
        }[id]
    )
