"""The published protocol: its schedule against torch's, and what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.finetune.protocol import LAST_RATE, Plateau, as_published


@pytest.mark.parametrize("seed", range(3))
def test_rate_falls_as_that_of_torch(seed: int) -> None:
    losses = 1 / np.arange(1, 200) ** 0.5 + np.random.default_rng(seed).normal(0, 0.05, 199)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1e-4, betas=(0.5, 0.9))
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=7)
    plateau = Plateau()
    for loss in losses:
        reference.step(float(loss))
        ended = plateau.add(float(loss))
        assert plateau.rate == pytest.approx(optimizer.param_groups[0]["lr"])
        assert ended == (plateau.rate <= LAST_RATE)
        if ended:
            break
    assert ended


def test_settings_are_the_published_ones() -> None:
    config = as_published(FinetuneConfig(label="x", epochs=2000, batch_size=32))
    assert (config.base_lr, config.betas, config.weight_decay, config.layer_decay) == (1e-4, (0.5, 0.9), 0.0, 1.0)
    assert (config.epochs, config.batch_size, config.sample_rate, config.opening) == (2000, 32, 2, 0.0)
    changes = (config.flip, config.colour, config.crop_jitter, config.mixup, config.linear_probe)
    assert not any(changes)
