"""Settings of pretraining: presets, YAML, validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.making import TINY, lay

from marlin_sdk.config import PRESETS
from marlin_sdk.errors import ConfigError
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.settings import load_settings, save_settings


def test_preset_marlin_is_the_published_configuration() -> None:
    config = PretrainConfig.from_preset("marlin", "marlin_vit_small")
    assert config.model is PRESETS["marlin_vit_small_ytf"]
    assert (config.masking, config.mask_ratio, config.num_visible) == ("fasking", 0.9, 156)
    assert (config.adv_weight, config.d_steps, config.g_steps, config.gradient_penalty) == (0.01, 1, 1, 0.0)
    assert (config.base_lr, config.base_min_lr, config.betas, config.weight_decay) == (1.5e-4, 1e-5, (0.9, 0.95), 0.0)
    assert (config.epochs, config.warmup * config.epochs) == (2000, 40)
    assert not config.normalise_target


def test_preset_videomae_has_no_discriminator_and_normalised_targets() -> None:
    config = PretrainConfig.from_preset("videomae", "marlin_vit_base_ytf")
    assert (config.masking, config.mask_ratio, config.normalise_target) == ("tube", 0.9, True)
    assert not config.is_adversarial
    assert (config.weight_decay, config.epochs, config.warmup * config.epochs) == (0.05, 800, 40)


def test_preset_short_learns_from_visible_tubelets_too() -> None:
    config = PretrainConfig.from_preset("short", TINY)
    assert (config.masking, config.mask_ratio, config.normalise_target) == ("random", 0.75, True)
    assert (config.visible_weight, config.clip_norm, config.is_adversarial) == (1.0, 0.5, False)
    assert PretrainConfig.from_preset("marlin", TINY).visible_weight == 0.0


def test_defaults_are_the_preset_marlin() -> None:
    assert PretrainConfig(model=TINY) == PretrainConfig.from_preset("marlin", TINY)


def test_yaml_is_a_round_trip(tmp_path: Path) -> None:
    config = PretrainConfig.from_preset("videomae", TINY, batch_size=3, max_steps=7, betas=(0.5, 0.6))
    save_settings(config.to_dict(), tmp_path / "run.yaml")
    assert PretrainConfig.from_dict(load_settings(tmp_path / "run.yaml")) == config


def test_yaml_may_name_preset_and_model(tmp_path: Path) -> None:
    path = lay(tmp_path / "run.yaml", b"preset: videomae\nmodel: marlin_vit_large\nadv_weight: 0.1\n")
    config = PretrainConfig.from_dict(load_settings(path))
    assert config.model is PRESETS["marlin_vit_large_ytf"]
    assert (config.masking, config.adv_weight) == ("tube", 0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"- 1\n", "not a mapping"),
        (b"1: 2\n", "not a mapping"),
        (b"a: [\n", "cannot be read as YAML"),
        (b"\xff\xfe\x00", "cannot be read as YAML"),
        (b"seed: !!python/object/apply:os.getpid []\n", "cannot be read as YAML"),
        (b"[" * 5000 + b"]" * 5000, "cannot be read as YAML"),
    ],
    ids=["list", "number", "open", "binary", "object", "deep"],
)
def test_file_that_is_not_a_config_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(lay(tmp_path / "run.yaml", text))


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load_settings(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_ratio": 0.0}, "mask_ratio"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"mask_ratio": 1.5}, "mask_ratio"),
        ({"mask_ratio": float("nan")}, "mask_ratio"),
        ({"mask_ratio": 0.99}, "leaves 0 of 32"),
        ({"masking": "cube"}, "masking is 'cube'; expected one of fasking"),
        ({"adv_weight": -0.1}, "adv_weight"),
        ({"base_lr": 0}, "base_lr"),
        ({"base_lr": float("inf")}, "base_lr"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": True}, "batch_size is True"),
        ({"max_steps": 0}, "max_steps"),
        ({"betas": [0.9]}, "betas"),
        ({"betas": [0.9, "0.95"]}, "betas"),
        ({"base_lr": "1e-4"}, "YAML reads 1e-4 as text: write 0.0001"),
        ({"max_steps": "1e3"}, "YAML reads 1e3 as text: write 1000"),
        ({"base_lr": "fast"}, r"base_lr is 'fast'; expected a number in \(0, inf\)$"),
        ({"precision": "16-mixed"}, "precision"),
        ({"strategy": "deepspeed"}, "strategy"),
        ({"normalise_target": 1}, "normalise_target"),
        ({"visible_weight": -0.5}, "visible_weight"),
        ({"accumulate": 2, "d_steps": 2}, "accumulate > 1"),
        ({"learning_rate": 0.1}, "no settings.*learning_rate"),
        ({"model": "marlin_vit_huge"}, "unknown model 'marlin_vit_huge'; expected one of marlin_vit_small"),
        ({"model": None}, "model is None"),
        ({"model": TINY.without_decoder()}, "needs a decoder"),
        ({"preset": "mae"}, "unknown preset 'mae'"),
    ],
)
def test_invalid_value_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PretrainConfig.from_dict({"model": TINY, **settings})


def test_integers_are_numbers() -> None:
    assert PretrainConfig.from_dict({"model": TINY, "betas": [0, 0.9], "adv_weight": 1}).betas == (0, 0.9)
