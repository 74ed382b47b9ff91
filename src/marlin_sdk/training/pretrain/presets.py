"""Settings of pretraining, by name: the published ones, and ours for short runs. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marlin_sdk.config import PRESETS, ModelConfig
from marlin_sdk.errors import ConfigError

__all__ = ["RECIPES", "model_size", "recipe"]

RECIPES: Mapping[str, Mapping[str, Any]] = {
    # MARLIN (arXiv 2211.06627), section 4 and its published configuration.
    "marlin": {
        "masking": "fasking",
        "mask_ratio": 0.9,
        "normalise_target": False,
        "adv_weight": 0.01,
        "d_steps": 1,
        "g_steps": 1,
        "gradient_penalty": 0.0,
        "base_lr": 1.5e-4,
        "base_min_lr": 1e-5,
        "betas": (0.9, 0.95),
        "weight_decay": 0.0,
        "epochs": 2000,
        "warmup": 40 / 2000,
    },
    # VideoMAE (arXiv 2203.12602), appendix, Kinetics-400.
    "videomae": {
        "masking": "tube",
        "mask_ratio": 0.9,
        "normalise_target": True,
        "adv_weight": 0.0,
        "base_lr": 1.5e-4,
        "base_min_lr": 1e-5,
        "betas": (0.9, 0.95),
        "weight_decay": 0.05,
        "epochs": 800,
        "warmup": 40 / 800,
    },
    # Ours, for few clips and few steps; what it was chosen by: docs/explanation/pretraining.md.
    "short": {
        "masking": "random",
        "mask_ratio": 0.75,
        "normalise_target": True,
        "visible_weight": 1.0,
        "adv_weight": 0.0,
        "base_lr": 0.016,
        "base_min_lr": 0.00032,
        "betas": (0.9, 0.95),
        "weight_decay": 0.05,
        "clip_norm": 0.5,
        "epochs": 400,
        "warmup": 0.05,
    },
}
"""Values of `PretrainConfig`, by the name of the recipe."""


def recipe(name: str) -> Mapping[str, Any]:
    """The settings of a published recipe.

    Raises:
        ConfigError: unknown name; the message lists the known ones.
    """
    if name not in RECIPES:
        raise ConfigError(f"unknown preset {name!r}; expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


def model_size(name: str) -> ModelConfig:
    """The size of a published model, by its name with or without `_ytf`, the data set of the published weights.

    Raises:
        ConfigError: unknown name; the message lists the known ones.
    """
    full = name if name.endswith("_ytf") else f"{name}_ytf"
    if full not in PRESETS:
        known = ", ".join(published.removesuffix("_ytf") for published in PRESETS)
        raise ConfigError(
            f"unknown model {name!r}; expected one of {known}, or set its sizes as `model:` of a config file"
        )
    return PRESETS[full]
