"""Settings of training for synchronisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from marlin_sdk.training.config import TrackTrainConfig
from marlin_sdk.training.settings import check_flag

__all__ = ["TASK", "SyncTrainConfig"]

TASK = "synchronisation"
"""The key of the settings in its checkpoints."""


@dataclass(frozen=True, kw_only=True)
class SyncTrainConfig(TrackTrainConfig):
    """Settings of training for synchronisation; those that trainings share are described in `TrackTrainConfig`.

    Attributes:
        dim: see `SyncConfig`.
        channels: see `SyncConfig`.
        depth: see `SyncConfig`.
        looks: see `SyncConfig`.
        windows: windows of a face track in each batch; they share its sound. A face is told apart from the sounds of
            the other tracks of the batch.
        augment: mirror, move and relight faces, and vary the sound's level, in training.

    Raises:
        ConfigError: a value out of range.
    """

    about: ClassVar[str] = "training for synchronisation"
    minimum: ClassVar[Mapping[str, int]] = {"dim": 1, "channels": 1, "depth": 1, "looks": 1, "windows": 1}

    dim: int = 32
    channels: int = 128
    depth: int = 3
    looks: int = 4
    windows: int = 4
    augment: bool = True
    base_lr: float = 8e-3
    base_min_lr: float = 8e-5
    epochs: int = 60
    val_clips: int = 64

    def __post_init__(self) -> None:
        check_flag("augment", self.augment)
        super().__post_init__()

    @property
    def clips_per_step(self) -> int:
        """Face tracks in one step, over all devices."""
        return self.batch_size * self.accumulate * self.devices * self.num_nodes
