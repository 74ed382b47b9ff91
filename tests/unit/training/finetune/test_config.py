"""Settings of fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from marlin_sdk.errors import ConfigError
from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.settings import load_settings, save_settings


def test_settings_survive_yaml(tmp_path: Path) -> None:
    config = FinetuneConfig(label="mood", betas=(0.8, 0.99), head="attentive", train_windows=3)
    save_settings(config.to_dict(), tmp_path / "run.yaml")
    assert FinetuneConfig.from_dict(load_settings(tmp_path / "run.yaml")) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label": ""}, "label is ''"),
        ({"label": "x", "epoch": 3}, r"no settings \['epoch'\]"),
        ({"epochs": 3}, "label is missing"),
        ({"label": "x", "head": "knn"}, "head is 'knn'; expected one of linear, attentive"),
        ({"label": "x", "pool": "regions"}, "pool is 'regions'; expected one of mean, time"),
        ({"label": "x", "kind": "numbers"}, "kind is 'numbers'"),
        ({"label": "x", "base_lr": "1e-3"}, r"base_lr is '1e-3'; .*write 0\.001"),
        ({"label": "x", "layer_decay": 1.5}, "layer_decay is 1.5"),
        ({"label": "x", "batch_size": 0}, "batch_size is 0; expected an integer of at least 1"),
        ({"label": "x", "flip": "no"}, "flip is 'no'; expected true or false"),
        ({"label": "x", "betas": [0.9, 1]}, "betas is"),
        ({"label": "x", "max_broken": 2}, "max_broken is 2"),
        ({"label": "x", "train_windows": 2}, "train_windows > 1 is for the attentive head"),
        ({"label": "x", "protocol": "marlin", "head": "attentive"}, "MARLIN's protocol has a linear head"),
        ({"label": "x", "protocol": "marlin", "pool": "time"}, "leave head and pool out"),
    ],
)
def test_invalid_settings_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FinetuneConfig.from_dict(values)
