"""Fine-tuning as in MARLIN's published code, and what is unsound in it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from marlin_sdk.evaluation.probe.protocol import UNSOUND as UNSOUND_PROBE
from marlin_sdk.training.finetune.config import FinetuneConfig

__all__ = ["LAST_RATE", "TEST_SEED", "UNSOUND", "Plateau", "as_published"]

UNSOUND = (
    "MARLIN's protocol: a test clip is judged by one random window, so that another seed gives other numbers; here its "
    "seed is fixed at 42",
    "MARLIN's protocol: all weights are trained at one rate from a random head on, without warm-up, weight decay or "
    "augmentation, for up to 2,000 epochs",
    *(note for note in UNSOUND_PROBE if "not standardised" not in note),
    "MARLIN's protocol: the learning rate follows the training loss, not the validation part",
)
"""What is unsound in the protocol, in words."""

TEST_SEED = 42
"""Of the one random window of each test clip."""

LAST_RATE = 1e-6
"""The learning rate at which training ends."""

_RATE, _BETAS = 1e-4, (0.5, 0.9)
_FACTOR, _PATIENCE, _THRESHOLD = 0.5, 7, 1e-4  # torch's ReduceLROnPlateau, relative


def as_published(config: FinetuneConfig) -> FinetuneConfig:
    """The settings of the protocol, with what is left to choose: label, batch size, epochs, devices."""
    return config.but(
        protocol="marlin",
        head="linear",
        sample_rate=2,
        jitter_s=0.0,
        accumulate=1,
        base_lr=_RATE,
        head_lr=1.0,
        layer_decay=1.0,
        warmup=0.0,
        opening=0.0,
        betas=_BETAS,
        weight_decay=0.0,
        clip_norm=None,
        label_smoothing=0.0,
        class_weights=False,
        mixup=0.0,
        flip=False,
        colour=0.0,
        crop_jitter=0.0,
        linear_probe=False,
        patience=0,
    )


@dataclass
class Plateau:
    """Halves the learning rate when the training loss has rested for 7 epochs.

    Attributes:
        rate: the learning rate.
        best: smallest loss of an epoch so far.
        rested: epochs since then.
    """

    rate: float = _RATE
    best: float = math.inf
    rested: int = 0

    def add(self, loss: float) -> bool:
        """Count an epoch; returns whether training ends."""
        if loss < self.best * (1 - _THRESHOLD):
            self.best, self.rested = loss, 0
        else:
            self.rested += 1
        if self.rested > _PATIENCE:
            self.rate, self.rested = self.rate * _FACTOR, 0
        return self.rate <= LAST_RATE
