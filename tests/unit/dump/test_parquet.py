from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.unit.dump.example_dumps import assert_same, closing, entry, random_features, write_dump

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.dump.writers import open_writer
from marlin_sdk.features.labels import Label


def read(path: Path) -> pa.Table:
    return pq.read_table(path, use_threads=False)


def test_other_programs_find_a_row_a_window_with_fixed_lists_and_labels(tmp_path: Path) -> None:
    features = random_features(3, shape=(8,))
    write_dump(tmp_path, {"a/b": features}, "parquet", labels={"a/b": {"emotion": "joy", "split": "träin"}})
    table = read(tmp_path / "features-00001.parquet")
    kinds = {field.name: str(field.type).replace(" not null", "") for field in table.schema}
    assert kinds == {
        "id": "string",
        "source": "string",
        "start_s": "double",
        "end_s": "double",
        "frame_index": "fixed_size_list<element: int64>[16]",
        "frame_valid": "fixed_size_list<element: bool>[16]",
        "boxes": "fixed_size_list<element: float>[64]",
        "face_score": "fixed_size_list<element: float>[16]",
        "track_id": "int64",
        "feature": "fixed_size_list<element: float>[8]",
        "emotion": "string",
        "split": "string",
    }
    rows = table.to_pylist()
    assert [row["id"] for row in rows] == ["a/b"] * 3
    assert {(row["source"], row["emotion"], row["split"]) for row in rows} == {("/data/a/b.mp4", "joy", "träin")}
    for index, row in enumerate(rows):
        assert row["start_s"] == features.start_s[index]
        assert row["track_id"] == features.track_id[index]
        np.testing.assert_array_equal(np.float32(row["feature"]), features.features[index])
        np.testing.assert_array_equal(np.float32(row["boxes"]).reshape(16, 4), features.boxes[index])
        np.testing.assert_array_equal(np.float32(row["face_score"]), features.face_score[index])
        np.testing.assert_array_equal(row["frame_valid"], features.frame_valid[index])
        np.testing.assert_array_equal(row["frame_index"], features.frame_index[index])
    assert table.column("face_score").null_count == 0


def test_tokens_lie_in_one_list_and_the_schema_says_their_shape(tmp_path: Path) -> None:
    features = random_features(2, shape=(6, 4))
    write_dump(tmp_path, {"a": features}, "parquet")
    table = read(tmp_path / "features-00001.parquet")
    shape = json.loads(table.schema.metadata[b"marlin_sdk.feature_shape"])
    flat = np.float32(table.column("feature").to_pylist())
    np.testing.assert_array_equal(flat.reshape(2, *shape), features.features)


def test_rows_are_written_in_whole_groups_and_large_rows_in_smaller_ones(tmp_path: Path) -> None:
    def group_rows(folder: str, shape: tuple[int, ...], videos: list[int]) -> list[int]:
        write_dump(
            tmp_path / folder, {str(i): random_features(rows, shape=shape) for i, rows in enumerate(videos)}, "parquet"
        )
        with pq.ParquetFile(tmp_path / folder / "features-00001.parquet") as file:
            return [file.metadata.row_group(index).num_rows for index in range(file.metadata.num_row_groups)]

    assert group_rows("small", (8,), [700, 700, 0, 2000, 1]) == [1024, 1024, 1024, 329]
    assert group_rows("large", (2048, 512), [5, 4, 8]) == [8, 8, 1]  # of 4 MB, and a group takes 32


def test_labels_that_are_called_like_our_columns_do_not_replace_them(tmp_path: Path) -> None:
    labels = {"source": "YouTube", "label_source": "mine", "feature": "big", "start_s": "never", "weiß\udcff": "x"}
    features = random_features(2)
    with closing(open_writer(tmp_path, "parquet")) as writer:
        writer.write(entry("a", features, labels), features)
        writer.close()
    row = read(tmp_path / "features-00001.parquet").to_pylist()[1]
    assert row["source"] == "/data/a.mp4"
    assert row["label_source"] == "mine"
    assert row["label_label_source"] == "YouTube"
    assert (row["label_feature"], row["label_start_s"]) == ("big", "never")
    dump = FeatureDump(tmp_path / "features-00001.parquet")
    assert dump.labels("a") == labels
    assert_same(dump["a"], features)


def test_videos_of_other_columns_begin_a_new_shard_but_those_without_rows_fit_anywhere(tmp_path: Path) -> None:
    wide, none = random_features(2, shape=(9,)), random_features(0, shape=(7,))
    videos: list[tuple[str, Any, dict[str, Label] | None]] = [
        ("a", random_features(2), {"x": "1"}),
        ("none", none, None),
        ("b", random_features(2), {"x": "2"}),
        ("labelled", random_features(2), {"x": "1", "y": "2"}),
        ("wide", wide, {"x": "1", "y": "2"}),
    ]
    kept = []
    with closing(open_writer(tmp_path, "parquet")) as writer:
        answers = [writer.write(entry(id, features, labels), features) for id, features, labels in videos]
        answers.append(writer.close())
        for answer in answers:
            kept += answer
    assert [[one.id for one in answer] for answer in answers] == [
        [],
        [],
        [],
        ["a", "none", "b"],
        ["labelled"],
        ["wide"],
    ]
    for one, (id, features, labels) in zip(kept, videos, strict=True):
        dump = FeatureDump(tmp_path / (one.file or ""))
        assert_same(dump[id], features)
        assert dump.entries[id] == replace(one, labels=labels)


def test_a_shard_of_videos_without_rows_is_a_table_without_rows(tmp_path: Path) -> None:
    write_dump(tmp_path, {"a": random_features(0), "b": random_features(0)}, "parquet")
    assert len(read(tmp_path / "features-00001.parquet")) == 0
    assert list(FeatureDump(tmp_path)) == ["a", "b"]
    assert_same(FeatureDump(tmp_path)["b"], random_features(0))


def test_notes_on_many_videos_take_little_of_the_file(tmp_path: Path) -> None:
    meta = {"settings": {f"setting {index}": index for index in range(60)}}
    videos = {f"v{index}": replace(random_features(1), meta=meta) for index in range(400)}
    write_dump(tmp_path, videos, "parquet")
    with pq.ParquetFile(tmp_path / "features-00001.parquet") as file:
        size = len(file.metadata.metadata[b"marlin_sdk.videos"])
    assert 400 * len(json.dumps(meta)) > 400_000
    assert size < 30_000
