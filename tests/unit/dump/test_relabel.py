"""Other labels for what is embedded already."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from tests.unit.dump.example_dumps import SHARDED, assert_same, random_features, run_python, write_dump

from marlin_sdk import ConfigError, FeatureFileError
from marlin_sdk.dump.dataset import WindowDataset
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.reading import FeatureDump, open_parquet
from marlin_sdk.dump.relabel import Labelling, agree_on_labels, relabel_shard
from marlin_sdk.features.labels import Label

VIDEOS = {"a": random_features(700), "none": random_features(0), "b": random_features(900, seed=1)}
LABELS: dict[str, dict[str, Label]] = {
    "a": {"age": 31, "fake": True, "source": "film", "weiß\udcff": "x"},
    "none": {"age": 2},
    "b": {"valence": 0.5},
}


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("features-*"))


def entry(id: str, **labels: Label) -> ManifestEntry:
    return ManifestEntry(id=id, source=id, status="ok", labels=labels)


@pytest.mark.parametrize("format", SHARDED)
def test_a_shard_gets_other_labels_and_keeps_all_else(tmp_path: Path, format: str) -> None:
    write_dump(tmp_path, VIDEOS, format, labels={"a": {"age": "thirty", "mood": "sad"}})
    (shard,) = shards(tmp_path)
    labelling = agree_on_labels(LABELS, FeatureDump(tmp_path).entries, tmp_path)
    assert relabel_shard(shard, labelling, is_current=False)
    dump = FeatureDump(shard)
    assert {id: dump.labels(id) for id in dump} == LABELS
    assert [type(value) for value in dump.labels("a").values()] == [int, bool, str, str]
    for id, features in VIDEOS.items():
        assert_same(dump[id], features)
    before = shard.stat()
    assert not relabel_shard(shard, labelling, is_current=False)
    assert shard.stat() == before


def test_columns_of_a_shard_are_typed_and_groups_stay_as_they_are(tmp_path: Path) -> None:
    write_dump(tmp_path, VIDEOS, "parquet", labels={"a": {"age": "thirty"}})
    (shard,) = shards(tmp_path)
    groups, plain = open_parquet(shard).group_rows, pq.read_table(shard)
    relabel_shard(shard, agree_on_labels(LABELS, {}, tmp_path), is_current=False)
    table = pq.read_table(shard)
    assert open_parquet(shard).group_rows == groups == [1024, 576]
    for name in plain.schema.names:
        if name not in ("age", "face_score"):  # which is NaN here and there
            assert table[name].equals(plain[name]), name
    added = {field.name: str(field.type) for field in table.schema if field.name not in plain.schema.names}
    assert added == {"fake": "bool", "label_source": "string", "valence": "double", "weiß\\udcff": "string"}
    assert table.schema.field("age").type == pa.int64()
    assert table["age"].to_pylist() == [31] * 700 + [None] * 900
    assert table["valence"].to_pylist() == [None] * 700 + [0.5] * 900
    assert set(table["label_source"].to_pylist()) == {"film", None}


def test_other_members_of_a_tar_shard_are_copied_byte_by_byte(tmp_path: Path) -> None:
    def members() -> dict[str, bytes]:
        with tarfile.open(shard) as archive:
            return {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]

    write_dump(tmp_path, VIDEOS, "webdataset")
    (shard,) = shards(tmp_path)
    before = members()
    relabel_shard(shard, Labelling({"a": {"age": 31}}), is_current=False)
    after = members()
    assert [name for name in before if before[name] != after[name]] == ["a.json"]
    assert list(before) == list(after)
    assert json.loads(after["a.json"])["entry"]["labels"] == {"age": 31}


def test_a_reader_that_was_open_does_not_mix_two_files(tmp_path: Path) -> None:
    write_dump(tmp_path, VIDEOS, "parquet")
    (shard,) = shards(tmp_path)
    dump, windows = FeatureDump(tmp_path), iter(WindowDataset(tmp_path))
    assert_same(dump["a"], VIDEOS["a"])
    next(windows)
    relabel_shard(shard, Labelling({"a": {"age": 31}}, types={"age": "int"}), is_current=False)
    with pytest.raises(FeatureFileError, match=r"features-00001.parquet: was replaced .*open the dump anew"):
        _ = dump["b"]
    with pytest.raises(FeatureFileError, match="was replaced"):
        list(windows)
    assert_same(FeatureDump(tmp_path)["b"], VIDEOS["b"])


KILLED = """
import os, signal, sys
from pathlib import Path
from marlin_sdk.dump import relabel
own = relabel.open_parquet_writer
def open_and_die(*arguments):
    writer = own(*arguments)
    write_table, calls = writer.write_table, []
    def die(*arguments, **options):
        calls.append(write_table(*arguments, **options))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    writer.write_table = die
    return writer
relabel.open_parquet_writer = open_and_die
relabel.relabel_shard(Path(sys.argv[1]), relabel.Labelling({"a": {"age": 31}}, types={"age": "int"}), is_current=False)
"""


def test_a_kill_in_mid_rewrite_leaves_the_shard_as_it_was(tmp_path: Path) -> None:
    write_dump(tmp_path, VIDEOS, "parquet", labels={"a": {"age": 30}})
    (shard,) = shards(tmp_path)
    before = shard.read_bytes()
    run_python(KILLED, str(shard), expected=-9)
    assert shard.read_bytes() == before
    assert FeatureDump(tmp_path).labels("a") == {"age": 30}
    assert pd.read_parquet(shard)["age"].dropna().unique() == [30]


def test_a_label_has_one_type_in_table_and_dump(tmp_path: Path) -> None:
    def types(table: dict[str, dict[str, Label | None]], *entries: ManifestEntry) -> dict[str, Any]:
        return dict(agree_on_labels(table, {one.id: one for one in entries}, tmp_path).types)

    assert types({"a": {"x": 1, "y": None}}, entry("b", x=0.5)) == {"x": "float"}
    assert types({"a": {"x": 1}}, entry("a", x="one"), entry("b", y="two")) == {"x": "int", "y": "text"}
    assert types({"a": {"x": 1}}, entry("b", x="2"), entry("c", x="")) == {"x": "int"}  # as version 0.1.0 wrote it
    assert types({"a": {"x": 1}}, entry("b", x="2.5"), entry("c", x=3)) == {"x": "float"}
    assert types({}, entry("b", x="2"), entry("c", x="3")) == {"x": "text"}
    for value in ("two", "007", "nan", True):
        with pytest.raises(
            ConfigError, match=r"'x' is int in the table, and (text|bool) for 1 of the videos of .* list"
        ):
            types({"a": {"x": 1}}, entry("b", x=value))
    with pytest.raises(ConfigError, match="'x' is bool for 1, int for 2 of the videos"):
        types({}, entry("b", x=2), entry("c", x=3), entry("d", x=True))


def test_labels_become_of_the_common_type() -> None:
    labelling = agree_on_labels({"a": {"x": 1, "y": None}}, {"b": entry("b", x="0.5"), "c": entry("c", x=2)}, Path())
    found = [labelling.of(entry(id, x="9")) for id in ("a", "b", "c")]
    assert found == [{"x": 1.0}, {"x": 0.5}, {"x": 2.0}]
    assert {type(labels["x"]) for labels in found} == {float}
    with pytest.raises(ConfigError, match="'x' is 'new' in the dump, but float here; give all runs one table"):
        labelling.of(entry("d", x="new"))


def test_a_parquet_dump_is_read_as_one_table_by_pandas_and_arrow(tmp_path: Path) -> None:
    write_dump(tmp_path, VIDEOS, "parquet", labels=LABELS, shard_rows=500)
    (tmp_path / "manifest.jsonl").rename(tmp_path / "_manifest.jsonl")
    labelling = agree_on_labels(LABELS, {}, tmp_path)
    assert len(shards(tmp_path)) == 3
    for shard in shards(tmp_path):
        relabel_shard(shard, labelling, is_current=True)
    table = pd.read_parquet(tmp_path)
    assert len(table) == ds.dataset(tmp_path).count_rows() == 1600
    assert set(table["valence"].dropna()) == {0.5}
    np.testing.assert_array_equal(np.stack(table["feature"][table["id"] == "b"]), VIDEOS["b"].features)
    whole = pa.concat_tables([pq.read_table(shard) for shard in shards(tmp_path)])
    assert whole.num_rows == 1600
