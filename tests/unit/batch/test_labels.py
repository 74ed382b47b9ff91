"""Labels over several runs of one dump."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.unit.batch.test_run import IDENTITY, Ready

from marlin_sdk import ConfigError
from marlin_sdk.batch.progress import PlainProgress
from marlin_sdk.batch.run import make_dump
from marlin_sdk.batch.store import Dump
from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.manifest import ManifestEntry, manifests, read_manifest
from marlin_sdk.dump.plan import DumpPlan
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.dump.settings import read_settings
from marlin_sdk.inputs.videos import VideoInput
from marlin_sdk.labels import Label

EARLIER = Path(__file__).parents[2] / "fixtures" / "version-0.1.0"


def run(plan: DumpPlan, labels: Mapping[str, Mapping[str, Label | None]]) -> str:
    """Make a dump of videos with these labels, or go on with it; returns what is said."""
    said = StringIO()
    videos = [VideoInput(id, f"in/{id}.mp4", labels=own) for id, own in labels.items()]
    make_dump(videos, Ready(), plan, IDENTITY, progress=PlainProgress(said))
    return said.getvalue()


def column(folder: Path, name: str) -> dict[str, object]:
    """A label of each video, as the one table of all shards has it."""
    table = pa.concat_tables([pq.read_table(shard) for shard in sorted(folder.glob("features*.parquet"))])
    rows = table.select(["id", name]).to_pylist()
    assert len(pd.read_parquet(folder)) == len(rows)
    return {row["id"]: row[name] for row in rows}


def test_the_type_of_a_label_is_that_of_its_whole_column_in_every_shard(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path, "parquet", shard_rows=4)
    run(plan, {"a": {"age": 3, "fake": None}, "b": {"age": None, "fake": True}, "c": {"age": 4, "fake": None}})
    assert len(list(tmp_path.glob("features*"))) == 3
    assert column(tmp_path, "age") == {"a": 3, "b": None, "c": 4}
    assert column(tmp_path, "fake") == {"a": None, "b": True, "c": None}
    assert FeatureDump(tmp_path).labels("b") == {"fake": True}


def test_integers_become_numbers_where_later_videos_have_numbers(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path, "parquet", shard_rows=4)
    run(plan, {"a": {"age": 3}, "b": {"age": 4}})
    said = run(plan, {"a": {"age": 3}, "c": {"age": 0.5}})
    assert "labels of 2 finished videos changed: recorded anew, in 2 rewritten shards" in said
    assert column(tmp_path, "age") == {"a": 3.0, "b": 4.0, "c": 0.5}
    assert {type(FeatureDump(tmp_path).labels(id)["age"]) for id in "abc"} == {float}
    run(plan, {"d": {"age": 7}})
    assert type(FeatureDump(tmp_path).labels("d")["age"]) is float
    assert column(tmp_path, "age")["d"] == 7.0


def test_a_new_label_is_a_column_of_all_shards_and_a_label_that_is_gone_is_of_none(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path, "parquet", shard_rows=4)
    run(plan, {"a": {"x": 1}, "b": {"x": 2}})
    run(plan, {"a": {"y": "new"}})
    assert (column(tmp_path, "x"), column(tmp_path, "y")) == ({"a": None, "b": 2}, {"a": "new", "b": None})
    run(plan, {"a": {"y": None}, "b": {"y": None}})
    assert "x" not in pd.read_parquet(tmp_path).columns
    assert FeatureDump(tmp_path).labels("a") == {}


def test_a_run_without_a_table_keeps_the_labels_and_the_columns(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path, "parquet")
    run(plan, {"a": {"x": 1}})
    before = (tmp_path / "features-00001.parquet").stat()
    said = run(plan, {"a": {}, "b": {}})
    assert "labels" not in said
    assert (tmp_path / "features-00001.parquet").stat() == before
    assert column(tmp_path, "x") == {"a": 1, "b": None}


def test_labels_of_another_type_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    plan = DumpPlan(tmp_path, "parquet")
    run(plan, {"a": {"x": 1}})
    before = {path: path.read_bytes() for path in tmp_path.glob("[_f]*")}
    with pytest.raises(ConfigError, match=r"'x' is text in the table, and int for 1 of the videos of .* does not list"):
        run(plan, {"b": {"x": "one"}})
    assert {path: path.read_bytes() for path in tmp_path.glob("[_f]*")} == before
    run(plan, {"a": {"x": "two"}, "b": {"x": "one"}})
    assert column(tmp_path, "x") == {"a": "two", "b": "one"}


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_a_kill_before_the_manifest_knows_is_made_good(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = DumpPlan(tmp_path, format, shard_rows=4)
    run(plan, {"a": {"x": 1}, "b": {"x": 1}})

    def stop(self: Dump, entries: list[ManifestEntry]) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Dump, "_append", stop)
        with pytest.raises(KeyboardInterrupt):
            run(plan, {"a": {"x": 2}, "b": {"x": 1}})
    assert FeatureDump(tmp_path).labels("a") == {"x": 1}
    assert "labels of 1 finished videos changed" in run(plan, {"a": {"x": 2}, "b": {"x": 1}})
    assert FeatureDump(tmp_path).labels("a") == {"x": 2}
    (shard,) = tmp_path.glob("features-00001.*")
    assert FeatureDump(shard).labels("a") == {"x": 2}
    assert "labels" not in run(plan, {"a": {"x": 2}, "b": {"x": 1}})


def test_shards_share_the_work_of_changing_labels(tmp_path: Path) -> None:
    ids = [f"{index:02d}" for index in range(9)]
    run(DumpPlan(tmp_path, "parquet", shard_rows=12), {id: {"x": 1} for id in ids})
    for index in (1, 2, 3):
        run(DumpPlan(tmp_path, "parquet", Shard(index, 3)), {id: {"x": int(id), "y": "new"} for id in ids})
    assert column(tmp_path, "x") == {id: int(id) for id in ids}
    dump = FeatureDump(tmp_path)
    assert {id: dump.labels(id) for id in dump} == {id: {"x": int(id), "y": "new"} for id in ids}
    run(DumpPlan(tmp_path, "parquet", Shard(1, 3)), {id: {"x": int(id), "y": "newer"} for id in ids})
    run(DumpPlan(tmp_path, "parquet"), {id: {"x": 0} for id in ids})
    assert {entry.labels["x"] for entry in read_manifest(tmp_path).values() if entry.labels} == {0}
    for index in (1, 2, 3):  # recorded in a manifest whose name comes first
        run(DumpPlan(tmp_path, "parquet", Shard(index, 3)), {id: {"x": 5} for id in ids})
    assert {entry.labels["x"] for entry in read_manifest(tmp_path).values() if entry.labels} == {5}


def test_side_files_of_an_earlier_version_move_out_of_the_way_of_arrow(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(EARLIER / "dump-parquet", tmp_path / "dump"))
    settings = read_settings(folder)
    assert settings is not None
    with pytest.raises(pa.ArrowInvalid, match="magic bytes"):
        pd.read_parquet(folder)
    ids = ("first", "second", "third")
    videos = [VideoInput(id, f"{id}.mp4", labels={"word": index}) for index, id in enumerate(ids)]
    make_dump(videos, Ready(), DumpPlan(folder, "parquet"), settings["identity"])
    assert [path.name for path in manifests(folder)] == ["_manifest.jsonl"]
    assert sorted(path.name for path in folder.iterdir()) == [
        *(".locks", "_manifest.jsonl", "_settings.json", "features-00001.parquet", "features-00002.parquet")
    ]
    assert read_settings(folder) == settings
    assert column(folder, "word") == {"first": 0, "second": 1, "third": 2}
