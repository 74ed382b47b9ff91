"""Settings of training to make lips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal

from marlin_sdk.errors import ConfigError
from marlin_sdk.training.settings import check_choice, check_integer, check_number, is_number

__all__ = ["TASK", "LipsTrainConfig"]

TASK = "lip synchronisation"
"""The key of the settings in its checkpoints."""

_MINIMUM = {
    "size_px": 4, "width": 16, "sound_channels": 1, "sound_depth": 1, "batch_size": 2, "windows": 2, "accumulate": 1,
    "epochs": 1, "devices": 1, "num_nodes": 1, "seed": 0, "num_workers": 0, "val_clips": 1, "log_every": 1,
    "save_every": 1, "val_every": 1,
}  # fmt: skip
_RANGES = {
    "base_lr": (0.0, float("inf"), False),
    "base_min_lr": (0.0, float("inf"), True),
    "encoder_lr": (0.0, float("inf"), True),
    "critic_lr": (0.0, float("inf"), False),
    "weight_decay": (0.0, float("inf"), True),
    "warmup": (0.0, 1.0, True),
    "sync_weight": (0.0, 1.0, True),
    "sync_from": (0.0, 1.0, True),
    "adversarial_weight": (0.0, 1.0, True),
}


@dataclass(frozen=True, kw_only=True)
class LipsTrainConfig:
    """Settings of training to make lips.

    Attributes:
        size_px: see `LipsConfig`.
        width: see `LipsConfig`.
        sound_channels: see `LipsConfig`.
        sound_depth: see `LipsConfig`.
        windows: windows of a face track in each batch, without a frame in common; each is the reference of another.
        sync_weight: of the loss of the synchronisation model, as in Wav2Lip (arXiv 2008.10010).
        sync_from: fraction of the steps before which that weight is 0: lips that are no lips yet cannot be in time.
        adversarial_weight: of the loss of the critic, as in Wav2Lip; 0 trains none.
        base_lr: learning rate of the new layers for 256 windows a step; it scales linearly with their number.
        base_min_lr: final learning rate of the cosine decay, for 256 windows a step.
        encoder_lr: learning rate of the MARLIN encoder, as a share of that of the new layers; 0 leaves it as it is.
        critic_lr: that of the critic, as a share.
        betas: of AdamW.
        weight_decay: of AdamW, on matrices and kernels only.
        clip_norm: largest norm of the gradient; None does not clip.
        warmup: fraction of the steps in which the learning rate grows from 0.
        epochs: passes over the data, if `max_steps` is not given.
        max_steps: total steps.
        batch_size: face tracks in a batch on each device.
        accumulate: batches whose gradients are accumulated for one step.
        precision: "bf16-mixed" or "32-true"; "auto" is the first on CUDA, the second on a CPU.
        strategy: "auto" is "ddp" on several devices.
        devices: devices, or CPU processes, on each node.
        num_nodes: machines.
        accelerator: "auto", "cpu" or "cuda".
        seed: of weights, order and windows.
        num_workers: data loader processes, for each device.
        val_clips: number of held-out tracks to validate on.
        log_every: steps between two log entries.
        save_every: steps between two checkpoints.
        val_every: steps between two validations on held-out tracks.

    Raises:
        ConfigError: a value outside the ranges above.
    """

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
    encoder_lr: float = 0.2
    critic_lr: float = 0.3
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = 0.01
    clip_norm: float | None = 1.0
    warmup: float = 0.05
    epochs: int = 100
    max_steps: int | None = None
    batch_size: int = 16
    accumulate: int = 1
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    strategy: Literal["auto", "ddp"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    num_workers: int = 0
    val_clips: int = 16
    log_every: int = 10
    save_every: int = 100
    val_every: int = 100

    def __post_init__(self) -> None:
        for name, minimum in _MINIMUM.items():
            check_integer(name, getattr(self, name), minimum)
        if self.max_steps is not None:
            check_integer("max_steps", self.max_steps, 1)
        check_choice("precision", self.precision, ("auto", "32-true", "bf16-mixed"))
        check_choice("strategy", self.strategy, ("auto", "ddp"))
        check_choice("accelerator", self.accelerator, ("auto", "cpu", "cuda"))
        for name, (low, high, closed) in _RANGES.items():
            check_number(name, getattr(self, name), low, high, closed=closed)
        if self.sync_weight + self.adversarial_weight >= 1:
            raise ConfigError(
                f"sync_weight {self.sync_weight} and adversarial_weight {self.adversarial_weight} leave nothing "
                "for the picture; expected a sum below 1"
            )
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0, float("inf"))
        betas = tuple(self.betas) if isinstance(self.betas, (list, tuple)) else ()
        if len(betas) != 2 or not all(is_number(beta) and 0 <= beta < 1 for beta in betas):
            raise ConfigError(f"betas is {self.betas!r}; expected two numbers in [0, 1)")
        object.__setattr__(self, "betas", betas)  # a YAML list

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LipsTrainConfig:
        """Parse the output of `to_dict`.

        Raises:
            ConfigError: an unknown key, or an invalid value.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            known = ", ".join(field.name for field in fields(cls))
            raise ConfigError(f"training to make lips has no settings {sorted(unknown)}; known are {known}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by name."""
        return {**asdict(self), "betas": list(self.betas)}

    def but(self, **settings: Any) -> LipsTrainConfig:
        """A copy with changed settings.

        Raises:
            ConfigError: an invalid value.
        """
        return replace(self, **settings)

    @property
    def clips_per_step(self) -> int:
        """Windows in one step, over all devices."""
        return self.batch_size * self.windows * self.accumulate * self.devices * self.num_nodes
