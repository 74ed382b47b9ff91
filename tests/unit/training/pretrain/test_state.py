"""Checkpoints of a run: atomic, and readable by everything that reads MARLIN files."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.fabric import Fabric
from tests.making import TINY

from marlin_sdk import Marlin, ModelConfig
from marlin_sdk.errors import TrainingError, WeightsError
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.learner import Batch, Learner, build_networks
from marlin_sdk.training.pretrain.state import load_learner, save_learner

CLIPS = torch.randint(0, 256, (4, 16, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
BATCH = Batch(CLIPS, (torch.arange(32) % 10 == 0).expand(4, 32))


def learner(model: ModelConfig = TINY, **settings: Any) -> Learner:
    config = PretrainConfig(model=model, accelerator="cpu", **settings)
    return Learner(config, *build_networks(config), Fabric(accelerator="cpu", devices=1))


def progress(step: int) -> dict[str, Any]:
    return {"step": step, "epoch": 0, "places": [[0, step]], "best": 0.5, "metrics": {}, "init": ""}


@contextmanager
def full_disk(limit_bytes: int) -> Iterator[None]:
    """A limit of the file size: writes beyond it fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_restored_learner_continues_identically(tmp_path: Path) -> None:
    straight, stopped, resumed = learner(), learner(), learner(seed=9)
    for step in range(3):
        straight.step([BATCH], learning_rate=1e-3, seed=step)
        stopped.step([BATCH], learning_rate=1e-3, seed=step)
    save_learner(stopped, tmp_path / "last.ckpt", progress(3))
    assert load_learner(resumed, tmp_path / "last.ckpt") == progress(3)
    for step in range(3, 6):
        straight.step([BATCH], learning_rate=1e-3, seed=step)
        resumed.step([BATCH], learning_rate=1e-3, seed=step)
    for key, tensor in straight.network.state_dict().items():
        assert torch.equal(resumed.network.state_dict()[key], tensor), key
    assert straight.discriminator is not None
    assert resumed.discriminator is not None
    for key, tensor in straight.discriminator.state_dict().items():
        assert torch.equal(resumed.discriminator.state_dict()[key], tensor), key


def test_names_are_the_published_ones_and_from_pretrained_loads_it(tmp_path: Path, shared_keys: set[str]) -> None:
    made = learner()
    made.step([BATCH], learning_rate=1e-3, seed=0)
    save_learner(made, tmp_path / "last.ckpt", progress(1))
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert shared_keys <= content["state_dict"].keys()
    model = Marlin.from_pretrained(tmp_path / "last.ckpt", decoder=True, device="cpu")
    clips = torch.rand(2, *TINY.clip_shape)
    with torch.no_grad():
        assert torch.equal(model.encoder(clips), made.network.encoder(clips))
    assert model.decoder is not None
    assert torch.equal(model.decoder.head.weight, made.network.decoder.head.weight)


@pytest.fixture
def shared_keys() -> set[str]:
    """Some names of the published layout, each part of the model once."""
    return {
        "encoder.patch_embedding.projection.weight",
        "encoder.pos_embedding.emb",
        "encoder.blocks.0.attn.q_bias",
        "encoder.blocks.1.mlp.layers.0.linear.weight",
        "enc_dec_proj.weight",
        "decoder.mask_token",
        "decoder.blocks.0.mlp.layers.1.linear.bias",
        "discriminator.layers.0.linear.weight",
        "discriminator.layers.1.linear.bias",
    }


def test_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    made, path = learner(), tmp_path / "last.ckpt"
    save_learner(made, path, progress(10))
    good = path.read_bytes()
    with full_disk(len(good) // 2), pytest.raises(TrainingError, match=r"of step 20.*last good one.*step 10.*--resume"):
        save_learner(made, path, progress(20))
    assert path.read_bytes() == good
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]
    assert load_learner(learner(), path)["step"] == 10


def test_first_checkpoint_on_a_full_disk_reports_no_earlier_one(tmp_path: Path) -> None:
    with (
        full_disk(1000),
        pytest.raises(TrainingError, match=r"full\?\); there is no earlier one. Free some space, then start again"),
    ):
        save_learner(learner(), tmp_path / "last.ckpt", progress(20))
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_of_another_size_names_what_differs(tmp_path: Path) -> None:
    save_learner(learner(), tmp_path / "last.ckpt", progress(1))
    wide = ModelConfig(**{**TINY.to_dict(), "encoder_embed_dim": 64})
    with pytest.raises(WeightsError, match="another size: encoder_embed_dim 32, here 64"):
        load_learner(learner(model=wide), tmp_path / "last.ckpt")


def test_checkpoint_without_discriminator_cannot_be_resumed_with_one(tmp_path: Path) -> None:
    save_learner(learner(adv_weight=0), tmp_path / "last.ckpt", progress(1))
    with pytest.raises(WeightsError, match=r"has no discriminator, but adv_weight is 0\.01"):
        load_learner(learner(), tmp_path / "last.ckpt")


def test_weights_that_are_not_finite_do_not_replace_good_ones(tmp_path: Path) -> None:
    """A loss may still be finite when the weights after the step are not."""
    made, path = learner(), tmp_path / "last.ckpt"
    save_learner(made, path, progress(10))
    good = path.read_bytes()
    with torch.no_grad():
        made.network.decoder.head.bias[0] = torch.nan
    with pytest.raises(TrainingError, match=r"of step 20: its weights are not finite; the last good one.*step 10"):
        save_learner(made, path, progress(20))
    assert path.read_bytes() == good
