"""How many steps a run has, and the learning rate of each."""

from __future__ import annotations

import math
from typing import Protocol

__all__ = ["ScheduleSettings", "learning_rate", "total_steps"]


class ScheduleSettings(Protocol):
    """The part of a training's settings that decides its schedule."""

    @property
    def base_lr(self) -> float:
        """The highest learning rate, for 256 clips a step."""

    @property
    def base_min_lr(self) -> float:
        """Where the cosine ends, for 256 clips a step."""

    @property
    def warmup(self) -> float:
        """Share of the steps in which the learning rate grows from 0."""

    @property
    def epochs(self) -> int:
        """Passes over the data, where `max_steps` is None."""

    @property
    def max_steps(self) -> int | None:
        """Steps in all."""

    @property
    def clips_per_step(self) -> int:
        """Clips that one step sees, over all devices."""


def total_steps(config: ScheduleSettings, num_clips: int) -> int:
    """Steps of a whole run: `max_steps`, or as many as `epochs` over so many training clips take."""
    return config.max_steps or math.ceil(config.epochs * num_clips / config.clips_per_step)


def learning_rate(step: int, steps: int, config: ScheduleSettings) -> float:
    """Linear warm-up, then half a cosine down to the smallest rate, by the step.

    Args:
        step: from 0.
        steps: in all; from there on the rate is the smallest.
        config: base rates, warm-up and clips a step.
    """
    scale = config.clips_per_step / 256
    highest, lowest = config.base_lr * scale, config.base_min_lr * scale
    warmup = round(config.warmup * steps)
    if step < warmup:
        return highest * (step + 1) / warmup
    share = min((step - warmup) / max(steps - warmup, 1), 1.0)
    return lowest + (highest - lowest) * (1 + math.cos(math.pi * share)) / 2
