"""Settings of training to make lips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from marlin_sdk.errors import ConfigError
from marlin_sdk.training.config import TrackTrainConfig

__all__ = ["TASK", "LipsTrainConfig"]

TASK = "lip synchronisation"
"""The key of the settings in its checkpoints."""


@dataclass(frozen=True, kw_only=True)
class LipsTrainConfig(TrackTrainConfig):
    """Settings of training to make lips; those that trainings share are described in `TrackTrainConfig`.

    Attributes:
        size_px: see `LipsConfig`.
        width: see `LipsConfig`.
        sound_channels: see `LipsConfig`.
        sound_depth: see `LipsConfig`.
        windows: windows of a face track in each batch, without a frame in common; each is the reference of another, and
            learning rates are for 256 of them.
        sync_weight: of the loss of the synchronisation model, as in Wav2Lip (arXiv 2008.10010).
        sync_from: fraction of the steps before which that weight is 0: lips that are no lips yet cannot be in time.
        adversarial_weight: of the loss of the critic, as in Wav2Lip; 0 trains none.
        critic_lr: learning rate of the critic, as a share of that of the new layers.

    Raises:
        ConfigError: a value out of range.
    """

    about: ClassVar[str] = "training to make lips"
    minimum: ClassVar[Mapping[str, int]] = {
        "size_px": 4, "width": 16, "sound_channels": 1, "sound_depth": 1, "windows": 2,
    }  # fmt: skip
    ranges: ClassVar[Mapping[str, tuple[float, float, bool]]] = {
        "critic_lr": (0.0, float("inf"), False),
        "sync_weight": (0.0, 1.0, True),
        "sync_from": (0.0, 1.0, True),
        "adversarial_weight": (0.0, 1.0, True),
    }

    size_px: int = 224
    width: int = 512
    sound_channels: int = 128
    sound_depth: int = 3
    windows: int = 2
    sync_weight: float = 0.03
    sync_from: float = 0.3
    adversarial_weight: float = 0.07
    base_lr: float = 4e-3
    base_min_lr: float = 4e-5
    critic_lr: float = 0.3
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.01
    epochs: int = 100
    val_clips: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sync_weight + self.adversarial_weight >= 1:
            raise ConfigError(
                f"sync_weight {self.sync_weight} and adversarial_weight {self.adversarial_weight} leave nothing "
                "for the picture; expected a sum below 1"
            )

    @property
    def clips_per_step(self) -> int:
        """Windows in one step, over all devices."""
        return self.batch_size * self.windows * self.accumulate * self.devices * self.num_nodes
