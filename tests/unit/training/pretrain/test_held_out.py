"""Validation beside baselines: in the terms of the loss, constant, and without disturbing the training clips."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from tests.generated_clips import GeneratedClips
from tests.making import TINY
from torch import Tensor

from marlin_sdk.errors import TrainingError
from marlin_sdk.training.pretrain.baselines import mean_face, still_face_tubelets, sum_frames
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.held_out import MEAN_FACE_CLIPS, HeldOut
from marlin_sdk.training.pretrain.learner import Batch, Learner, build_networks
from marlin_sdk.training.pretrain.losses import masked_tubelets, normalise_tubelets
from marlin_sdk.training.pretrain.run import Run, pretrain
from marlin_sdk.training.pretrain.stream import BatchStream, collate, first_clips, masks_for
from marlin_sdk.training.stream import seed_of

NAMES = ["reconstruction", "mean_face", "still_face"]
MOVING = [f"{name}_moving" for name in NAMES]


class Flat(GeneratedClips):
    """Clips of one grey level each, still."""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for item, level in zip(super().__iter__(), range(10, 255, 20), strict=False):
            yield {**item, "clip": torch.full((16, 32, 32, 3), level, dtype=torch.uint8)}


def config(**settings: Any) -> PretrainConfig:
    given = {"batch_size": 4, "num_workers": 0, "accelerator": "cpu", "max_steps": 3, "val_clips": 8, **settings}
    return PretrainConfig(model=TINY, **given)


def held_out(own: PretrainConfig, val: GeneratedClips, train: GeneratedClips | None = None) -> HeldOut:
    return HeldOut(val, train or GeneratedClips(), own, Fabric(accelerator="cpu", devices=1))


def metrics(made: HeldOut, own: PretrainConfig) -> dict[str, float]:
    return made.metrics(Learner(own, *build_networks(own), Fabric(accelerator="cpu", devices=1)))


def clips_and_masks(own: PretrainConfig, val: GeneratedClips) -> tuple[Tensor, Tensor]:
    items = collate(list(islice(val, own.val_clips)))
    mask = masks_for(items, own, [seed_of(own.seed, 2**31, 0, index) for index in range(own.val_clips)])
    return items["clip"].permute(0, 4, 1, 2, 3).float() / 255, mask


@pytest.mark.parametrize("normalise_target", [False, True])
def test_baselines_are_compared_in_the_terms_of_the_loss(normalise_target: bool) -> None:
    own = config(normalise_target=normalise_target, masking="random")
    found = metrics(held_out(own, GeneratedClips(8, seed=1)), own)
    assert list(found) == [*NAMES, *MOVING]
    pixels, mask = clips_and_masks(own, GeneratedClips(8, seed=1))
    face = mean_face(sum_frames(first_clips(GeneratedClips(), 64), TINY), TINY)
    filled, target = still_face_tubelets(pixels, mask, face, TINY), masked_tubelets(pixels, mask, TINY)
    if normalise_target:
        filled, target = normalise_tubelets(filled), normalise_tubelets(target)
    assert found["still_face"] == pytest.approx(float((filled - target).square().mean()), rel=1e-5)


def test_flat_still_clips_by_hand() -> None:
    """Eight clips of levels 10, 30, ..., 150; the mean of twelve, to 230, is 120. Every cell is visible somewhere."""
    own = config(masking="frame", mask_ratio=0.5)
    found = metrics(held_out(own, Flat(8), Flat()), own)
    assert list(found) == NAMES  # nothing moves
    assert found["still_face"] == 0
    differences = [(level - 120) / 255 for level in range(10, 151, 20)]
    assert found["mean_face"] == pytest.approx(sum(value**2 for value in differences) / 8, rel=1e-5)


def test_mean_face_is_that_of_at_most_64_clips() -> None:
    own = config()
    first = metrics(held_out(own, GeneratedClips(8, seed=1), GeneratedClips(MEAN_FACE_CLIPS)), own)
    more = metrics(held_out(own, GeneratedClips(8, seed=1), GeneratedClips(MEAN_FACE_CLIPS + 1)), own)
    clips = list(first_clips(GeneratedClips(MEAN_FACE_CLIPS + 9), MEAN_FACE_CLIPS))
    assert len(clips) == MEAN_FACE_CLIPS
    assert first["mean_face"] != more["mean_face"]  # another permutation leaves one out
    assert first["reconstruction"] == more["reconstruction"]


def test_training_goes_on_where_it_was_to() -> None:
    """The data set has been at another epoch in between; the batches are those of a stream without held-out clips."""
    own, train = config(), GeneratedClips()
    stream, alone = BatchStream(train, own), BatchStream(GeneratedClips(), own)
    for each in (stream, alone):
        each.seek(2, 1)
    held_out(own, GeneratedClips(8, seed=1), train)
    for got, expected in islice(zip(stream, alone, strict=True), 4):
        assert torch.equal(got["clip"], expected["clip"])
        assert torch.equal(got["mask"], expected["mask"])


def test_baselines_do_not_depend_on_the_model() -> None:
    own = config()
    made = held_out(own, GeneratedClips(8, seed=1))
    learner = Learner(own, *build_networks(own), Fabric(accelerator="cpu", devices=1))
    before = made.metrics(learner)
    items = next(iter(BatchStream(GeneratedClips(), own)))
    learner.step([Batch(items["clip"], items["mask"])], learning_rate=0.01, seed=0)
    after = made.metrics(learner)
    assert {name for name in before if before[name] != after[name]} == {"reconstruction", "reconstruction_moving"}


def test_held_out_clips_without_training_clips_are_refused() -> None:
    with pytest.raises(TrainingError, match="less than one batch of 4; prepare more videos, or lower --batch-size"):
        held_out(config(), GeneratedClips(8, seed=1), GeneratedClips(0))


def test_without_held_out_clips_no_training_clip_is_read() -> None:
    class Unread(GeneratedClips):
        def __iter__(self) -> Iterator[Mapping[str, Any]]:
            raise AssertionError

    assert not HeldOut(None, Unread(), config(), Fabric(accelerator="cpu", devices=1))


def logged(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "val/reconstruction" in line]


def test_run_logs_all_measures_and_a_resumed_run_the_same(tmp_path: Path) -> None:
    def run(folder: Path, steps: int, *, resume: bool = False) -> None:
        settings: dict[str, Any] = {"max_steps": steps, "val_every": 1, "warmup": 0.0, "base_min_lr": 1.5e-4}
        own, val = config(**settings), GeneratedClips(8, seed=1)
        pretrain(own, folder, train=GeneratedClips(), val=val, run=Run(resume=resume))

    torch.set_num_threads(1)
    run(tmp_path / "straight", 4)
    run(tmp_path / "resumed", 2)
    run(tmp_path / "resumed", 4, resume=True)
    straight, resumed = logged(tmp_path / "straight"), logged(tmp_path / "resumed")
    assert [list(line) for line in straight] == [["step", *(f"val/{name}" for name in [*NAMES, *MOVING])]] * 4
    assert straight == resumed
    assert len({line["val/mean_face"] for line in straight}) == 1
    assert len({line["val/reconstruction"] for line in straight}) == 4
    card = (tmp_path / "straight" / "README.md").read_text()
    assert "| val/still_face_moving | " in card
    assert "it does NOT beat the mean face of the training clips" in card
