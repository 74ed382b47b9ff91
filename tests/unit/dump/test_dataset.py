from __future__ import annotations

import json
import math
import os
import runpy
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.patience import HANG_S
from tests.unit.dump.example_dumps import FORMATS, ROOT, random_features, run_python, write_dump
from torch.utils.data import DataLoader

from marlin_sdk import ConfigError, FeatureFileError, MissingExtraError, ShapeError, VideoFeatures
from marlin_sdk.dump.dataset import WindowDataset, pad_collate
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.features.labels import Label

READER = """
import json, sys
import torch.distributed
from torch.utils.data import DataLoader
from marlin_sdk.dump.dataset import WindowDataset

def main():
    folder, workers, rank, world, rendezvous, shuffle, out = sys.argv[1:]
    if int(world) > 1:
        torch.distributed.init_process_group(
            "gloo", init_method="file://" + rendezvous, rank=int(rank), world_size=int(world)
        )
    dataset = WindowDataset(folder, shuffle_buffer=int(shuffle))
    options = {"multiprocessing_context": "spawn"} if int(workers) else {}
    rows = [
        (id, round(float(start_s), 9))
        for batch in DataLoader(dataset, batch_size=50, num_workers=int(workers), **options)
        for id, start_s in zip(batch["id"], batch["start_s"])
    ]
    with open(out, "w") as file:
        json.dump(rows, file)
    if int(world) > 1:
        torch.distributed.destroy_process_group()

if __name__ == "__main__":
    main()
"""
VIDEOS = {f"v{index}": random_features(rows, seed=index) for index, rows in enumerate((900, 0, 700, 1, 1500, 40, 900))}
ROWS = Counter((id, round(float(start_s), 9)) for id, features in VIDEOS.items() for start_s in features.start_s)


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dump")
    write_dump(folder, VIDEOS, "parquet", shard_rows=1000)
    assert len(list(folder.glob("*.parquet"))) == 3
    return folder


def read_apart(tmp_path: Path, dump: Path, *, workers: int, world: int, shuffle: int) -> list[list[tuple[str, float]]]:
    """What each of `world` processes reads, all at the same time, each with DataLoader workers of its own."""
    (tmp_path / "reader.py").write_text(READER)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "GLOO_SOCKET_IFNAME": "lo"}
    few_cores = "ignore:This DataLoader will create"
    command = [sys.executable, "-W", "error", "-W", few_cores, "reader.py", str(dump), str(workers)]
    running = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(tmp_path / "rendezvous"), str(shuffle), f"rows{rank}.json"],
            cwd=tmp_path,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    errors = [process.communicate(timeout=HANG_S)[1] for process in running]
    assert [process.returncode for process in running] == [0] * world, errors
    return [[(id, s) for id, s in json.loads((tmp_path / f"rows{rank}.json").read_text())] for rank in range(world)]


def test_three_workers_read_each_row_exactly_once(tmp_path: Path, dump: Path) -> None:
    (rows,) = read_apart(tmp_path, dump, workers=3, world=1, shuffle=0)
    assert Counter(rows) == ROWS


def test_two_ranks_with_spawned_workers_read_each_row_exactly_once(tmp_path: Path, dump: Path) -> None:
    first, second = read_apart(tmp_path, dump, workers=1, world=2, shuffle=100)
    assert first
    assert second
    assert Counter(first) + Counter(second) == ROWS


def test_two_ranks_without_workers_read_each_row_exactly_once(tmp_path: Path, dump: Path) -> None:
    first, second = read_apart(tmp_path, dump, workers=0, world=2, shuffle=0)
    assert Counter(first) + Counter(second) == ROWS


def test_rows_come_in_the_order_of_the_dump_with_their_features(dump: Path) -> None:
    dataset = WindowDataset(dump)
    assert dataset.num_rows == sum(ROWS.values())
    rows = iter(dataset)
    for id, features in VIDEOS.items():
        for index in range(len(features)):
            row = next(rows)
            assert list(row) == ["id", "feature", "start_s", "end_s", "track_id"]
            assert (row["id"], row["start_s"], row["end_s"], row["track_id"]) == (
                id, features.start_s[index], features.end_s[index], features.track_id[index]
            )  # fmt: skip
            if index % 50 == 0:
                assert row["feature"].dtype == torch.float32
                np.testing.assert_array_equal(row["feature"].numpy(), features.features[index])
    assert next(rows, None) is None


def test_columns_are_chosen_by_name_labels_and_tokens_too(tmp_path: Path) -> None:
    features = random_features(3, shape=(6, 4))
    write_dump(tmp_path, {"a": features}, "parquet", labels={"a": {"emotion": "joy", "source": "YouTube"}})
    assert WindowDataset(tmp_path).columns == (
        "id", "feature", "start_s", "end_s", "track_id", "emotion", "label_source"
    )  # fmt: skip
    row = next(islice(WindowDataset(tmp_path, columns=["boxes", "frame_valid", "emotion", "feature"]), 1, None))
    assert set(row) == {"boxes", "frame_valid", "emotion", "feature"}
    np.testing.assert_array_equal(row["boxes"].numpy(), features.boxes[1])
    np.testing.assert_array_equal(row["frame_valid"].numpy(), features.frame_valid[1])
    np.testing.assert_array_equal(row["feature"].numpy(), features.features[1])
    assert row["emotion"] == "joy"
    (batch,) = DataLoader(WindowDataset(tmp_path), batch_size=8)
    assert batch["feature"].shape == (3, 6, 4)
    assert batch["label_source"] == ["YouTube"] * 3
    with pytest.raises(ConfigError, match=r"no columns \['mood'\]; expected some of .*'emotion'"):
        WindowDataset(tmp_path, columns=["id", "mood"])


def test_a_label_that_a_shard_lacks_is_empty(tmp_path: Path) -> None:
    one = random_features(1)
    write_dump(tmp_path, {"a": one, "b": one}, "parquet", labels={"a": {"x": "1"}, "b": {"y": "2"}})
    assert [(row["x"], row["y"]) for row in WindowDataset(tmp_path)] == [("1", ""), ("", "2")]


def test_labels_are_typed_and_a_number_that_is_absent_is_not_a_number(tmp_path: Path) -> None:
    videos = {id: random_features(2) for id in "abc"}
    labels: dict[str, dict[str, Label]] = {
        "a": {"age": 31, "mood": "sad", "fake": True, "valence": 0.5},
        "b": {"age": 7},
    }
    write_dump(tmp_path, videos, "parquet", labels=labels)
    rows = list(WindowDataset(tmp_path, columns=["id", "age", "mood", "fake", "valence"]))
    assert [tuple(row.values()) for row in rows[:4:2]] == [
        ("a", 31, "sad", True, 0.5),
        ("b", 7, "", pytest.approx(math.nan, nan_ok=True), pytest.approx(math.nan, nan_ok=True)),
    ]
    assert [type(row["age"]) for row in rows] == [int] * 4 + [float] * 2
    batch, _ = DataLoader(WindowDataset(tmp_path, columns=["age", "valence"]), batch_size=4)
    assert batch["age"].tolist()[:3] == [31, 31, 7]
    assert batch["valence"].dtype == torch.float64


def test_rows_that_a_later_run_replaced_or_that_no_manifest_tells_of_are_left_out(tmp_path: Path) -> None:
    old = {id: random_features(3, seed=1) for id in ("a", "b")}
    write_dump(tmp_path, old, "parquet", at=1.0)
    write_dump(tmp_path, {"b": random_features(2, seed=2)}, "parquet", at=2.0)
    lost = tmp_path / "lost"
    write_dump(lost, {"c": random_features(2)}, "parquet")
    (lost / "features-00001.parquet").rename(tmp_path / "features-00003.parquet")
    dataset = WindowDataset(tmp_path)
    assert [row["id"] for row in dataset] == ["a", "a", "a", "b", "b"]
    assert dataset.num_rows == 5


def test_a_shuffle_gives_the_same_rows_in_another_order_each_epoch(dump: Path) -> None:
    def ids(epoch: int, seed: int = 0) -> list[tuple[str, float]]:
        dataset = WindowDataset(dump, columns=["id", "start_s"], shuffle_buffer=500, seed=seed)
        dataset.set_epoch(epoch)
        return [(row["id"], round(row["start_s"], 9)) for row in dataset]

    first, second = ids(0), ids(1)
    assert Counter(first) == Counter(second) == ROWS
    assert first == ids(0)
    assert len({tuple(first), tuple(second), tuple(ids(0, seed=1))}) == 3
    plain = [(row["id"], round(row["start_s"], 9)) for row in WindowDataset(dump)]
    moved = sum(ours != theirs for ours, theirs in zip(first, plain, strict=True))
    assert moved > 0.9 * len(plain)
    with pytest.raises(ConfigError, match="shuffle_buffer is -1"):
        WindowDataset(dump, shuffle_buffer=-1)


def test_memory_stays_flat_over_many_row_groups(tmp_path: Path) -> None:
    videos = {f"v{index}": replace(random_features(250, shape=(1024,)), meta={}) for index in range(100)}
    write_dump(tmp_path, videos, "parquet")
    assert sum(path.stat().st_size for path in tmp_path.glob("*.parquet")) > 100e6
    script = """
import sys
from tests.unit.dump.example_dumps import resident_mb
from marlin_sdk.dump.dataset import WindowDataset

peaks = [0.0] * 25
for number, row in enumerate(WindowDataset(sys.argv[1], shuffle_buffer=200)):
    if number % 100 == 0:
        peaks[number // 1000] = max(peaks[number // 1000], resident_mb())
print(peaks[2], max(peaks[20:]))
"""
    early, late = map(float, run_python(script, str(tmp_path)).split())
    assert late < early + 20


def test_what_is_no_parquet_dump_is_refused(tmp_path: Path) -> None:
    write_dump(tmp_path / "npz", {"a": random_features(1)}, "npz")
    with pytest.raises(ConfigError, match=r"its rows are in a\.npz; create one with --format parquet"):
        WindowDataset(tmp_path / "npz")
    with pytest.raises(FeatureFileError, match="holds no manifest"):
        WindowDataset(tmp_path)
    write_dump(tmp_path / "gone", {"a": random_features(1)}, "parquet")
    (tmp_path / "gone" / "features-00001.parquet").unlink()
    with pytest.raises(FeatureFileError, match=r"no such feature file: .*features-00001\.parquet"):
        WindowDataset(tmp_path / "gone")


def test_reading_parquet_without_pyarrow_names_the_extra(dump: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for read in (lambda: FeatureDump(dump)["v0"], lambda: WindowDataset(dump)):
        with pytest.raises(MissingExtraError, match=r"pip install 'marlin-sdk\[parquet\]'"):
            read()


def padded(items: list[VideoFeatures | tuple[VideoFeatures, Any]]) -> dict[str, Any]:
    return pad_collate(items)


@pytest.mark.parametrize("shape", [(8,), (6, 4)])
def test_a_padded_batch_holds_every_row_and_says_which_are_real(shape: tuple[int, ...]) -> None:
    videos = [random_features(rows, shape=shape, seed=rows) for rows in (3, 0, 5)]
    batch = padded([*videos])
    assert set(batch) == {"features", "mask", "lengths", "start_s", "end_s", "ids"}
    assert batch["features"].shape == (3, 5, *shape)
    assert (batch["features"].dtype, batch["mask"].dtype, batch["lengths"].dtype) == (
        torch.float32, torch.bool, torch.int64
    )  # fmt: skip
    assert batch["start_s"].dtype == batch["end_s"].dtype == torch.float64
    assert batch["lengths"].tolist() == [3, 0, 5]
    assert batch["ids"] == ["clips/3.mp4", "clips/0.mp4", "clips/5.mp4"]
    for index, video in enumerate(videos):
        rows = len(video)
        assert batch["mask"][index].tolist() == [True] * rows + [False] * (5 - rows)
        np.testing.assert_array_equal(batch["features"][index, :rows].numpy(), video.features)
        np.testing.assert_array_equal(batch["end_s"][index, :rows].numpy(), video.end_s)
        for name in ("features", "start_s", "end_s"):
            assert not batch[name][index, rows:].any()


def test_labels_of_a_batch_become_a_tensor_or_a_list() -> None:
    one, two = random_features(1), replace(random_features(2), meta={"id": "b/c", "source": "x.mp4"})
    assert padded([(one, 3), (two, 4)])["labels"].tolist() == [3, 4]
    assert padded([(one, 0.5), (two, 1.5)])["labels"].dtype == torch.float64
    batch = padded([(one, "joy"), (two, "anger")])
    assert batch["labels"] == ["joy", "anger"]
    assert batch["ids"] == ["clips/0.mp4", "b/c"]


@pytest.mark.parametrize("format", FORMATS)
def test_parts_of_one_video_are_told_apart_in_a_batch(tmp_path: Path, format: str) -> None:
    parts = {"talk@0.00-2.00": random_features(2), "talk@2.00-4.00": random_features(2)}  # of one source
    write_dump(tmp_path / "dump", parts, format)
    dump = FeatureDump(tmp_path / "dump")
    assert padded([dump[id] for id in parts])["ids"] == list(parts)


def test_items_that_make_no_batch_are_refused() -> None:
    one = random_features(2)
    for items in ([], [one, random_features(2, shape=(9,))], [replace(one, features=one.features.mean(axis=0))]):
        with pytest.raises(ShapeError, match="cannot make a batch of"):
            padded([*items])
    with pytest.raises(ShapeError, match="1 of 2 items have a label"):
        padded([one, (one, 1)])


def test_a_data_loader_over_a_dump_pads_its_videos(tmp_path: Path) -> None:
    videos = {f"v{index}": random_features(index + 1, seed=index) for index in range(5)}
    write_dump(tmp_path, videos, "npz")
    kept: list[VideoFeatures] = list(FeatureDump(tmp_path).values())
    loader: DataLoader[VideoFeatures] = DataLoader(kept, batch_size=2, collate_fn=pad_collate)  # type: ignore[arg-type]
    assert [batch["lengths"].tolist() for batch in loader] == [[1, 2], [3, 4], [5]]


@pytest.mark.parametrize("format", ["npz", "parquet"])
def test_the_example_learns_what_the_features_say(
    tmp_path: Path, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    videos, labels = {}, {}
    for index in range(50):
        features = random_features(int(rng.integers(1, 9)), seed=index)
        offset = np.float32(3 if index % 2 == 0 else -3)
        videos[f"clip{index}"] = replace(features, features=features.features + offset)
        labels[f"clip{index}"] = {"emotion": "joy" if index % 2 == 0 else "anger"}
    videos["unlabelled"], labels["unlabelled"] = random_features(3), {"emotion": ""}
    videos["short"], labels["short"] = random_features(0), {"emotion": "joy"}
    write_dump(tmp_path, videos, format, labels=labels)

    main = runpy.run_path(str(ROOT / "examples" / "train_on_dump.py"))["main"]
    main([str(tmp_path), "--label", "emotion", "--epochs", "10"])
    *epochs, last = capsys.readouterr().out.splitlines()
    assert len(epochs) == 10
    assert last == "2 classes, 40 videos to train on, 10 of 10 others right"
    with pytest.raises(SystemExit, match=r"has a label 'mood'; there are \['emotion'\]"):
        main([str(tmp_path), "--label", "mood"])
