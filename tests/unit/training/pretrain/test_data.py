"""The data set of clips: each sample once an epoch, over workers and processes, from any position."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.making import TINY
from tests.unit.training.preparing import number_of, write_data, write_shard
from torch.utils.data import DataLoader

from marlin_sdk import ConfigError
from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.data import ClipDataset, ClipItem, open_clips

PEOPLE = {f"p{index:02d}": 31 + index for index in range(23)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"), PEOPLE, {"v0": 40, "v1": 45, "v2": 50})


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    """Tensors are passed between processes by files: sockets, the default, are blocked in tests."""
    sharing: Any = torch.multiprocessing
    usual = sharing.get_sharing_strategy()
    sharing.set_sharing_strategy("file_system")
    yield
    sharing.set_sharing_strategy(usual)


def loaded(dataset: ClipDataset, batch_size: int, workers: int = 0, **options: Any) -> list[dict[str, Any]]:
    return list(DataLoader(dataset, batch_size=batch_size, num_workers=workers, **options))


def seen(batches: list[dict[str, Any]]) -> list[tuple[list[str], list[int]]]:
    return [(batch["identity"], batch["start"].tolist()) for batch in batches]


def test_clip_has_16_frames_two_apart_and_the_regions_of_each_tubelets_first(data: Path) -> None:
    starts = Counter[bool]()
    for item in ClipDataset(data, batch_size=1):
        assert item["clip"].dtype == item["regions"].dtype == torch.uint8
        assert item["clip"].shape == (16, 32, 32, 3)
        frames = [number_of(frame) for frame in item["clip"].numpy()]
        assert frames == list(range(item["start"], item["start"] + 32, 2))
        assert item["regions"].shape == (8, 2, 2)
        assert item["regions"][:, 0, 0].tolist() == frames[::2]
        assert frames[-1] < PEOPLE[item["identity"]]
        assert item["id"] == f"{item['identity']}.mp4#0-0"
        starts[item["start"] > 0] += 1
    assert starts[True] > 8


def test_each_possible_start_is_drawn(tmp_path: Path) -> None:
    dataset = ClipDataset(write_data(tmp_path, {"a": 34}), batch_size=1)
    drawn = Counter[int]()
    for epoch in range(200):
        dataset.set_epoch(epoch)
        drawn.update(item["start"] for item in dataset)
    assert sorted(drawn) == [0, 1, 2, 3]
    assert min(drawn.values()) > 25


def test_epoch_gives_every_sample_once_in_its_own_order(data: Path) -> None:
    dataset = ClipDataset(data, batch_size=1)
    orders = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        orders.append([(item["id"], item["start"]) for item in dataset])
    assert sorted(name for name, _ in orders[0]) == [f"{name}.mp4#0-0" for name in PEOPLE]
    assert [name for name, _ in orders[0]] != sorted(name for name, _ in orders[0])
    assert orders[0] != orders[1]
    assert orders[0] == orders[2]
    other = ClipDataset(data, batch_size=1, seed=1)
    assert [(item["id"], item["start"]) for item in other] != orders[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_the_number_of_workers(data: Path, workers: int) -> None:
    expected = seen(loaded(ClipDataset(data, batch_size=4), 4))
    assert len(expected) == 5  # 23 // 4
    got = loaded(ClipDataset(data, batch_size=4), 4, workers, multiprocessing_context="fork")
    assert seen(got) == expected


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("step", [0, 1, 3, 4, 5])
def test_epoch_resumes_at_any_step(data: Path, step: int, workers: int) -> None:
    dataset = ClipDataset(data, batch_size=4)
    dataset.set_epoch(3)
    whole = seen(loaded(dataset, 4))
    dataset.set_epoch(3, step)
    context = {"multiprocessing_context": "fork"} if workers else {}
    assert seen(loaded(dataset, 4, workers, **context)) == whole[step:]


def test_skipped_step_is_not_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    cut = ClipDataset.load

    def counted(self: ClipDataset, index: int, epoch: int) -> ClipItem:
        reads.append(str(index))
        return cut(self, index, epoch)

    monkeypatch.setattr(ClipDataset, "load", counted)
    dataset = ClipDataset(data, batch_size=4)
    dataset.set_epoch(0, 4)
    loaded(dataset, 4)
    assert len(reads) == 4


def test_persistent_workers_get_the_next_epoch(data: Path) -> None:
    dataset = ClipDataset(data, batch_size=4)
    loader = DataLoader(dataset, batch_size=4, num_workers=2, persistent_workers=True, multiprocessing_context="fork")
    passes = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        passes.append(seen(list(loader)))
    dataset.set_epoch(1)
    assert passes[1] == seen(loaded(dataset, 4))
    assert passes[0] != passes[1]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_processes_share_an_epoch_and_have_the_same_number_of_batches(data: Path, world_size: int) -> None:
    ranks = [ClipDataset(data, batch_size=3, rank=rank, world_size=world_size) for rank in range(world_size)]
    batches = [loaded(dataset, 3, drop_last=True) for dataset in ranks]
    assert {len(one) for one in batches} == {23 // (3 * world_size)}
    assert all(len(dataset) == 3 * len(one) for dataset, one in zip(ranks, batches, strict=True))
    together = [name for one in batches for names, _ in seen(one) for name in names]
    assert len(set(together)) == len(together) == 23 // (3 * world_size) * 3 * world_size


def test_two_processes_together_get_the_batches_of_one_with_twice_the_size(data: Path) -> None:
    one = seen(loaded(ClipDataset(data, batch_size=6), 6))
    two = [seen(loaded(ClipDataset(data, batch_size=3, rank=rank, world_size=2), 3)) for rank in (0, 1)]
    for whole, *halves in zip(one, *two, strict=True):
        assert sorted(whole[0]) == sorted(name for names, _ in halves for name in names)


def test_held_out_clips_are_complete_and_always_the_same(data: Path) -> None:
    for rank, world_size in ((0, 1), (0, 2), (1, 2)):
        options = {"batch_size": 2, "random_start": False, "drop_last": False}
        dataset = ClipDataset(data, "val", rank=rank, world_size=world_size, **options)  # type: ignore[arg-type]
        items = list(dataset)
        assert len(items) == len(dataset)
        assert {item["start"] for item in items} <= {4, 7, 9}  # the middle of 40, 45 and 50 frames
        if world_size == 1:
            assert [item["identity"] for item in items] == [item["identity"] for item in dataset]
            assert {item["identity"] for item in items} == {"v0", "v1", "v2"}
    halves = [
        [item["identity"] for item in ClipDataset(data, "val", batch_size=2, drop_last=False, rank=rank, world_size=2)]
        for rank in (0, 1)
    ]
    assert sorted(halves[0] + halves[1]) == ["v0", "v1", "v2"]


def test_order_does_not_depend_on_how_samples_are_packed(tmp_path: Path) -> None:
    first = write_data(tmp_path / "one", PEOPLE)
    other = write_data(tmp_path / "other", dict(reversed(PEOPLE.items())))
    assert [item["id"] for item in ClipDataset(first)] == [item["id"] for item in ClipDataset(other)]


def test_longer_clips_skip_samples_that_are_too_short(data: Path) -> None:
    dataset = ClipDataset(data, sample_rate=3)  # 46 frames
    assert dataset.num_clips == sum(length >= 46 for length in PEOPLE.values())
    with pytest.raises(ConfigError, match=r"no 'train' sample of .* has the 151 frames"):
        ClipDataset(data, sample_rate=10)


# Data of a training run -----------------------------------------------------------------------------------------------


def test_run_gets_both_splits_and_a_sentence_for_its_card(data: Path) -> None:
    train, val, about = open_clips(data, PretrainConfig(model=TINY, batch_size=4))
    assert train.num_clips == 23
    assert val is not None
    assert val.num_clips == 3
    assert about.startswith("26 face tracks of 26 identities from 26 videos")
    assert "3 tracks held out, by identity" in about


def test_card_names_a_detector_from_a_file_without_its_folder(tmp_path: Path) -> None:
    folder = write_data(tmp_path, PEOPLE)
    settings = DataFolder(folder).settings()
    (folder / "dataset.json").write_text(json.dumps({**settings.to_dict(), "detector": "/home/ann/faces.onnx"}))
    about = open_clips(folder, PretrainConfig(model=TINY))[2]
    assert "Faces found by faces.onnx, face regions" in about


def test_crops_of_another_size_than_the_data_say_are_refused(tmp_path: Path) -> None:
    folder = write_data(tmp_path, PEOPLE)
    settings = DataFolder(folder).settings().to_dict()
    (folder / "dataset.json").write_text(json.dumps({**settings, "size_px": 64}))
    with pytest.raises(VideoDecodeError, match=r"crops of \(32, 32\) and regions of \(2, 2\).*64 pixels in 4 cells"):
        next(iter(ClipDataset(folder)))


def test_data_without_a_validation_split_give_no_held_out_clips(tmp_path: Path) -> None:
    _, val, _ = open_clips(write_data(tmp_path, PEOPLE), PretrainConfig(model=TINY))
    assert val is None


def test_data_of_another_size_than_the_models_are_refused(data: Path) -> None:
    with pytest.raises(ConfigError, match=r"crops of 32 pixels.*takes 64 and 16: prepare with --size 64"):
        open_clips(data, PretrainConfig(model=replace(TINY, img_size=64)))


# Bad data -------------------------------------------------------------------------------------------------------------


def test_folder_without_prepared_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no prepared data; create it with marlin-sdk prepare VIDEOS -o"):
        ClipDataset(tmp_path)


def test_missing_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no 'val' shards, only train"):
        ClipDataset(write_data(tmp_path, PEOPLE), "val")


def test_truncated_shard_is_refused_before_training(tmp_path: Path) -> None:
    write_data(tmp_path, PEOPLE)
    tar = tmp_path / "shards/train-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-5000])
    with pytest.raises(VideoDecodeError, match=r"train-000001\.tar is truncated"):
        ClipDataset(tmp_path)


def test_shard_truncated_while_training_is_reported_by_a_worker(tmp_path: Path) -> None:
    dataset = ClipDataset(write_data(tmp_path, PEOPLE))
    tar = tmp_path / "shards/train-000001.tar"
    tar.write_bytes(tar.read_bytes()[:600])
    with pytest.raises(VideoDecodeError, match=r"train-000001\.tar is truncated"):
        loaded(dataset, 1, 2, multiprocessing_context="fork")


def test_identity_in_both_splits_is_refused(tmp_path: Path) -> None:
    write_data(tmp_path, PEOPLE)
    write_shard(tmp_path / "shards/val-000000.tar", "val", {"p07": 40})
    with pytest.raises(ConfigError, match=r"'p07' is in both splits: train in .*, val in"):
        ClipDataset(tmp_path)


@pytest.mark.parametrize(
    "options", [{"batch_size": 0}, {"rank": 1}, {"rank": 2, "world_size": 2}, {"rank": -1, "world_size": 2}]
)
def test_invalid_options_are_refused(data: Path, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        ClipDataset(data, **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="at least 0; got 0 and -1"):
        ClipDataset(data).set_epoch(0, -1)


def test_pixels_are_rgb(tmp_path: Path) -> None:
    import cv2

    from marlin_sdk.training.prepare.crops import encode
    from marlin_sdk.training.prepare.shards import Shard, end_tar, read_clip, write_sample

    red = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    red[..., 0] = 200
    with (tmp_path / "a.tar").open("wb") as file:
        description = {"id": "a", "source": "a", "identity": "a", "track": 0, "first_frame": 0}
        encoded = encode(red, 95)
        sample = write_sample(file, description, np.zeros((1, 2, 2), np.uint8), encoded)
        shard = Shard(tmp_path / "a.tar", "train", [sample], end_tar(file))
    assert np.abs(read_clip(shard, sample, [0])[0].reshape(-1, 3).mean(axis=0) - (200, 0, 0)).max() < 8
    bgr = cv2.imdecode(np.frombuffer(encoded[0], np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(np.asarray(bgr).reshape(-1, 3).mean(axis=0) - (0, 0, 200)).max() < 8
