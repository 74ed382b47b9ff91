"""Learning rate and arithmetic of a step."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.making import TINY

from marlin_sdk.config import PRESETS
from marlin_sdk.training.config import PretrainConfig
from marlin_sdk.training.schedule import learning_rate, model_gmac, step_gflop, total_steps

CONFIG = PretrainConfig(model=TINY, batch_size=128, accumulate=2, warmup=0.1, base_lr=1e-3, base_min_lr=1e-4)


def test_rate_warms_up_by_the_step_then_falls_by_half_a_cosine() -> None:
    rates = [learning_rate(step, 100, CONFIG) for step in range(101)]
    assert rates[:10] == pytest.approx([1e-4 * (step + 1) for step in range(10)])
    assert rates[10] == pytest.approx(1e-3)
    assert rates[55] == pytest.approx((1e-3 + 1e-4) / 2)
    assert rates[100] == pytest.approx(1e-4)
    assert all(before > after for before, after in pairwise(rates[10:]))


def test_rate_grows_with_the_clips_of_a_step() -> None:
    assert learning_rate(10, 100, CONFIG.but(batch_size=64)) == pytest.approx(0.5e-3)
    assert learning_rate(10, 100, CONFIG.but(devices=4)) == pytest.approx(4e-3)
    assert learning_rate(100, 100, CONFIG.but(batch_size=64)) == pytest.approx(0.5e-4)


def test_beyond_the_end_the_rate_stays() -> None:
    assert learning_rate(1000, 100, CONFIG) == pytest.approx(1e-4)


def test_run_without_warm_up_starts_at_the_top() -> None:
    assert learning_rate(0, 100, CONFIG.but(warmup=0)) == pytest.approx(1e-3)


def test_steps_come_from_epochs_unless_they_are_given() -> None:
    assert total_steps(CONFIG.but(epochs=10), num_clips=1000) == 40  # ceil(10 * 1000 / 256)
    assert total_steps(CONFIG.but(max_steps=7), num_clips=1000) == 7


def test_arithmetic_of_the_encoder_is_that_of_the_published_table() -> None:
    assert [round(model_gmac(model), 1) for model in PRESETS.values()] == [56.9, 180.3, 596.8]


def test_arithmetic_of_a_step_is_three_passes_of_what_is_needed() -> None:
    """By hand for the tiny model: 3 of 32 tokens visible, 29 rebuilt."""
    config = PretrainConfig(model=TINY, batch_size=1, adv_weight=0)
    encoder = 3 * 1536 * 32 + 2 * (3 * 32 * 32 * 12 + 2 * 3 * 3 * 32)
    decoder = 3 * 32 * 16 + 1 * (32 * 16 * 16 * 12 + 2 * 32 * 32 * 16) + 29 * 16 * 1536
    assert step_gflop(config) == pytest.approx(2e-9 * 3 * (encoder + decoder))
    critic = 29 * (1536 + 1) * 64
    assert step_gflop(config.but(adv_weight=0.01)) == pytest.approx(2e-9 * (3 * (encoder + decoder) + 6 * critic))
