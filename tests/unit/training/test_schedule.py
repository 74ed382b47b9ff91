"""Steps and learning rate of a run."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.making import TINY

from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.schedule import learning_rate, total_steps

CONFIG = PretrainConfig(model=TINY, batch_size=128, accumulate=2, warmup=0.1, base_lr=1e-3, base_min_lr=1e-4)


def test_rate_warms_up_linearly_then_decays_by_a_cosine() -> None:
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


def test_rate_is_constant_after_the_end() -> None:
    assert learning_rate(1000, 100, CONFIG) == pytest.approx(1e-4)


def test_run_without_warm_up_starts_at_the_highest_rate() -> None:
    assert learning_rate(0, 100, CONFIG.but(warmup=0)) == pytest.approx(1e-3)


def test_steps_come_from_epochs_unless_they_are_given() -> None:
    assert total_steps(CONFIG.but(epochs=10), num_clips=1000) == 40  # ceil(10 * 1000 / 256)
    assert total_steps(CONFIG.but(max_steps=7), num_clips=1000) == 7
