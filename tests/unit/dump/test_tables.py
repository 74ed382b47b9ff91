"""A dump as one table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.unit.dump.example_dumps import FORMATS, random_features, run_python, write_dump

from marlin_sdk import ConfigError, ShapeError, VideoFeatures, load_dump
from marlin_sdk.features.labels import Label

VIDEOS = {"b": random_features(5000), "a": random_features(2, seed=1), "none": random_features(0)}
LABELS: dict[str, dict[str, Label]] = {
    "b": {"age": 31, "mood": "sad", "f0": 0.5},
    "a": {"fake": True, "mood": "glad", "feature": "big"},
}
TYPES = {"age": "int64", "fake": "bool", "feature": "string", "f0": "double", "mood": "string"}


@pytest.mark.parametrize("format", FORMATS)
def test_a_dump_of_any_format_is_one_arrow_table(tmp_path: Path, format: str) -> None:
    write_dump(tmp_path, VIDEOS, format, labels=LABELS)
    table = load_dump(tmp_path).to_arrow()
    table.validate(full=True)
    kinds = {field.name: str(field.type) for field in table.schema}
    labels = {"label_feature" if name == "feature" else name: kind for name, kind in TYPES.items()}
    rest = {"id": "string", "start_s": "double", "end_s": "double", "track_id": "int64"}
    assert kinds == {**rest, **labels, "feature": "fixed_size_list<item: float>[8]"}
    assert table["id"].to_pylist() == ["b"] * 5000 + ["a"] * 2
    for id, features in VIDEOS.items():
        own = table.filter(pc.equal(table["id"], id))
        vectors = pc.list_flatten(own["feature"]).to_numpy().reshape(-1, 8)
        np.testing.assert_array_equal(vectors, features.features)
        np.testing.assert_array_equal(own["start_s"].to_numpy(), features.start_s)
        np.testing.assert_array_equal(own["track_id"].to_numpy(), features.track_id)
    assert table["age"].to_pylist() == [31] * 5000 + [None] * 2
    assert table["fake"].to_pylist() == [None] * 5000 + [True] * 2
    assert table.slice(5000)["label_feature"].to_pylist() == ["big"] * 2


@pytest.mark.parametrize("format", FORMATS)
def test_a_dump_of_any_format_is_one_data_frame(tmp_path: Path, format: str) -> None:
    write_dump(tmp_path, VIDEOS, format, labels=LABELS)
    table = load_dump(tmp_path).to_pandas()
    assert list(table.columns) == [
        *("id", "age", "label_f0", "fake", "label_feature", "mood", "start_s", "end_s", "track_id"),
        *(f"f{index}" for index in range(8)),
    ]
    expected = np.concatenate([VIDEOS["b"].features, VIDEOS["a"].features])
    np.testing.assert_array_equal(table.filter(regex=r"^f\d$").to_numpy(), expected)
    assert table["f0"].dtype == np.float32
    np.testing.assert_array_equal(table["end_s"], np.concatenate([VIDEOS["b"].end_s, VIDEOS["a"].end_s]))
    by_id = table.groupby("id", sort=False).first()
    assert list(by_id["mood"]) == ["sad", "glad"]
    assert by_id["age"]["b"] == 31
    assert np.isnan(by_id["age"]["a"])
    assert table["fake"].isna().sum() == 5000


def test_a_vector_of_a_whole_video_is_one_row(tmp_path: Path) -> None:
    def reduced(features: VideoFeatures) -> VideoFeatures:
        meta = {**features.meta, "settings": {"reduction": "mean"}}
        return replace(features, features=features.features.mean(axis=0), meta=meta)

    write_dump(tmp_path, {id: reduced(VIDEOS[id]) for id in ("a", "b")}, "npz")
    table = load_dump(tmp_path).to_pandas()
    assert list(table["id"]) == ["a", "b"]
    assert table["start_s"][0] == VIDEOS["a"].start_s.min()
    assert table["end_s"][0] == VIDEOS["a"].end_s.max()
    assert list(table["track_id"]) == [-1, -1]
    np.testing.assert_array_equal(table["f3"][0], VIDEOS["a"].features.mean(axis=0)[3])
    assert load_dump(tmp_path).to_arrow().num_rows == 2


def test_rows_of_several_vectors_are_lists_and_no_data_frame(tmp_path: Path) -> None:
    features = random_features(3, shape=(4, 8))
    write_dump(tmp_path, {"a": features}, "npz")
    dump = load_dump(tmp_path)
    table = dump.to_arrow()
    shape = json.loads(table.schema.metadata[b"marlin_sdk.feature_shape"])
    np.testing.assert_array_equal(np.reshape(table["feature"].to_pylist(), (3, *shape)), features.features)
    with pytest.raises(ConfigError, match=r"shape \(4, 8\) are no table of numbers; use to_arrow"):
        dump.to_pandas()


def test_rows_of_several_shapes_are_no_table(tmp_path: Path) -> None:
    write_dump(tmp_path, {"a": random_features(3), "b": random_features(3, shape=(9,))}, "npz")
    with pytest.raises(ShapeError, match=r"b: rows of shape \(9,\), but \(8,\) before"):
        load_dump(tmp_path).to_arrow()


def test_a_dump_without_rows_is_a_table_without_rows(tmp_path: Path) -> None:
    write_dump(tmp_path, {"none": random_features(0)}, "npz", labels={"none": {"age": 3}})
    assert load_dump(tmp_path).to_arrow().schema.names == ["id", "age", "start_s", "end_s", "track_id", "feature"]
    assert list(load_dump(tmp_path).to_pandas().columns) == ["id", "age", "start_s", "end_s", "track_id"]


PEAK = """
import gc, sys, resource
import pandas, pyarrow
from marlin_sdk import load_dump
dump = load_dump(sys.argv[1])
next(iter(dump.values()))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
table = getattr(dump, sys.argv[2])()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10)
"""


@pytest.mark.parametrize("method", ["to_arrow", "to_pandas"])
def test_memory_holds_the_features_once(tmp_path: Path, method: str) -> None:
    videos = {f"{index:02d}": random_features(1000, shape=(1024,), seed=index) for index in range(40)}
    write_dump(tmp_path, videos, "parquet", labels={id: {"age": int(id), "mood": "sad"} for id in videos})
    features_mb = 40 * 1000 * 1024 * 4 / 2**20
    assert float(run_python(PEAK, str(tmp_path), method)) < 1.6 * features_mb


def test_text_of_an_earlier_version_beside_numbers_is_text(tmp_path: Path) -> None:
    write_dump(tmp_path, {"a": VIDEOS["a"], "b": VIDEOS["a"]}, "npz", labels={"a": {"x": "1"}, "b": {"x": 2}})
    dump = load_dump(tmp_path)
    assert dump.label_types == {"x": "text"}
    assert set(dump.to_pandas()["x"]) == set(dump.to_arrow()["x"].to_pylist()) == {"1", "2"}
    assert isinstance(dump.to_arrow(), pa.Table)
    assert isinstance(dump.to_pandas(), pd.DataFrame)
