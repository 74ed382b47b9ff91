"""The minimum arithmetic of a step."""

from __future__ import annotations

import pytest
from tests.making import TINY

from marlin_sdk.config import PRESETS
from marlin_sdk.training.cost import model_gmac
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.cost import step_gflop


def test_arithmetic_of_the_encoder_is_that_of_the_published_table() -> None:
    assert [round(model_gmac(model), 1) for model in PRESETS.values()] == [56.9, 180.3, 596.8]


def test_arithmetic_of_a_step_is_three_minimal_passes() -> None:
    """By hand for the tiny model: 3 of 32 tokens visible, 29 reconstructed."""
    config = PretrainConfig(model=TINY, batch_size=1, adv_weight=0)
    encoder = 3 * 1536 * 32 + 2 * (3 * 32 * 32 * 12 + 2 * 3 * 3 * 32)
    decoder = 3 * 32 * 16 + 1 * (32 * 16 * 16 * 12 + 2 * 32 * 32 * 16) + 29 * 16 * 1536
    assert step_gflop(config) == pytest.approx(2e-9 * 3 * (encoder + decoder))
    critic = 29 * (1536 + 1) * 64
    assert step_gflop(config.but(adv_weight=0.01)) == pytest.approx(2e-9 * (3 * (encoder + decoder) + 6 * critic))
