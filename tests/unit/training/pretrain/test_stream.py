"""Batches epoch after epoch, and resuming in the middle of one."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from tests.generated_clips import GeneratedClips
from tests.making import TINY

from marlin_sdk.errors import TrainingError
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.stream import BatchStream
from marlin_sdk.training.stream import seed_of


def stream(num_clips: int = 10, rank: int = 0, **settings: Any) -> BatchStream:
    config = PretrainConfig(model=TINY, **{"batch_size": 4, "num_workers": 0, "max_steps": 1, **settings})
    return BatchStream(GeneratedClips(num_clips), config, rank=rank)


def ids(made: BatchStream, count: int) -> list[list[str]]:
    return [items["id"] for items in islice(made, count)]


def test_each_epoch_has_full_batches_and_its_own_order() -> None:
    seen = ids(stream(), 4)
    assert [len(batch) for batch in seen] == [4, 4, 4, 4]
    assert len({*seen[0], *seen[1]}) == 8  # no clip twice in an epoch
    assert seen[:2] != seen[2:]


def test_batch_holds_clips_and_masks_of_the_ratio() -> None:
    items = next(iter(stream(mask_ratio=0.75)))
    assert items["clip"].shape == (4, 16, 32, 32, 3)
    assert items["clip"].dtype == torch.uint8
    assert items["mask"].sum(1).tolist() == [8] * 4
    assert len(items["identity"]) == 4


def test_resuming_in_the_middle_of_an_epoch_gives_the_same_batches() -> None:
    straight = [(items["clip"], items["mask"]) for items in islice(stream(), 6)]
    first = stream()
    list(islice(first, 3))
    place = (first.epoch, first.batch_index)
    assert place == (1, 1)
    second = stream()
    second.seek(*place)
    rest = [(items["clip"], items["mask"]) for items in islice(second, 3)]
    for (clips, mask), (again, same) in zip(straight[3:], rest, strict=True):
        assert torch.equal(clips, again)
        assert torch.equal(mask, same)


def test_masks_differ_between_processes_epochs_and_positions() -> None:
    masks = [items["mask"] for rank in (0, 1) for items in islice(stream(rank=rank, masking="random"), 4)]
    rows = {tuple(row.tolist()) for mask in masks for row in mask}
    assert len(rows) == 32
    assert len({seed_of(a, b, c) for a in range(5) for b in range(5) for c in range(5)}) == 125


def test_strategy_without_regions_needs_none() -> None:
    items = next(iter(stream(masking="tube")))
    assert items["mask"].sum(1).tolist() == [3] * 4


def test_less_than_one_batch_is_an_error() -> None:
    with pytest.raises(TrainingError, match="less than one batch of 4; prepare more videos, or lower --batch-size"):
        next(iter(stream(num_clips=3)))
