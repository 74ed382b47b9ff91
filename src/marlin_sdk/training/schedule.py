"""The number of steps of a run, and the learning rate of each."""

from __future__ import annotations

import math
from typing import Protocol

__all__ = ["ScheduleSettings", "learning_rate", "total_steps"]


class ScheduleSettings(Protocol):
    """The settings of a training run that determine its schedule."""

    @property
    def base_lr(self) -> float:
        """The highest learning rate, for 256 clips a step."""

    @property
    def base_min_lr(self) -> float:
        """The final learning rate of the cosine decay, for 256 clips a step."""

    @property
    def warmup(self) -> float:
        """Fraction of the steps in which the learning rate grows from 0."""

    @property
    def epochs(self) -> int:
        """Passes over the data, if `max_steps` is None."""

    @property
    def max_steps(self) -> int | None:
        """Total steps."""

    @property
    def clips_per_step(self) -> int:
        """Clips in one step, over all devices."""


def total_steps(config: ScheduleSettings, num_clips: int) -> int:
    """Steps of a whole run: `max_steps`, or those of `epochs` over `num_clips` training clips."""
    return config.max_steps or math.ceil(config.epochs * num_clips / config.clips_per_step)


def learning_rate(step: int, steps: int, config: ScheduleSettings) -> float:
    """The learning rate of a step: linear warm-up, then cosine decay to the smallest rate.

    Args:
        step: from 0.
        steps: total; after them the rate is the smallest.
        config: base rates, warm-up and clips a step.
    """
    scale = config.clips_per_step / 256
    highest, lowest = config.base_lr * scale, config.base_min_lr * scale
    warmup = round(config.warmup * steps)
    if step < warmup:
        return highest * (step + 1) / warmup
    progress = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * progress)) / 2
