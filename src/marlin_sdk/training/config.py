"""Settings that trainings on tracks of faces share: schedule, optimiser, devices, logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from marlin_sdk.errors import ConfigError
from marlin_sdk.training.settings import check_choice, check_integer, check_number, is_number

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["TrackTrainConfig"]

_MINIMUM = {
    "batch_size": 2, "accumulate": 1, "epochs": 1, "devices": 1, "num_nodes": 1, "seed": 0, "num_workers": 0,
    "val_clips": 1, "log_every": 1, "save_every": 1, "val_every": 1,
}  # fmt: skip
_RANGES = {
    "base_lr": (0.0, float("inf"), False),
    "base_min_lr": (0.0, float("inf"), True),
    "encoder_lr": (0.0, float("inf"), True),
    "weight_decay": (0.0, float("inf"), True),
    "warmup": (0.0, 1.0, True),
}


@dataclass(frozen=True, kw_only=True)
class TrackTrainConfig:
    """Settings of a training of new layers around a MARLIN encoder, on tracks of faces.

    Attributes:
        base_lr: learning rate of the new layers for 256 clips a step; it scales linearly with their number.
        base_min_lr: final learning rate of the cosine decay, for 256 clips a step.
        encoder_lr: learning rate of the MARLIN encoder, as a share of that of the new layers; 0 leaves it as it is.
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
        seed: of weights, order, windows and augmentation.
        num_workers: data loader processes, for each device.
        val_clips: number of held-out tracks to validate on.
        log_every: steps between two log entries.
        save_every: steps between two checkpoints.
        val_every: steps between two validations on held-out tracks.

    Raises:
        ConfigError: a value outside the ranges above.
    """

    about: ClassVar[str]
    minimum: ClassVar[Mapping[str, int]] = {}
    ranges: ClassVar[Mapping[str, tuple[float, float, bool]]] = {}

    base_lr: float
    base_min_lr: float
    encoder_lr: float = 0.2
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    clip_norm: float | None = 1.0
    warmup: float = 0.05
    epochs: int
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
    val_clips: int
    log_every: int = 10
    save_every: int = 100
    val_every: int = 100

    def __post_init__(self) -> None:
        for name, minimum in {**_MINIMUM, **self.minimum}.items():
            check_integer(name, getattr(self, name), minimum)
        if self.max_steps is not None:
            check_integer("max_steps", self.max_steps, 1)
        check_choice("precision", self.precision, ("auto", "32-true", "bf16-mixed"))
        check_choice("strategy", self.strategy, ("auto", "ddp"))
        check_choice("accelerator", self.accelerator, ("auto", "cpu", "cuda"))
        for name, (low, high, closed) in {**_RANGES, **self.ranges}.items():
            check_number(name, getattr(self, name), low, high, closed=closed)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0, float("inf"))
        betas = tuple(self.betas) if isinstance(self.betas, (list, tuple)) else ()
        if len(betas) != 2 or not all(is_number(beta) and 0 <= beta < 1 for beta in betas):
            raise ConfigError(f"betas is {self.betas!r}; expected two numbers in [0, 1)")
        object.__setattr__(self, "betas", betas)  # a YAML list

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Parse the output of `to_dict`.

        Raises:
            ConfigError: an unknown key, or an invalid value.
        """
        if unknown := set(values) - {field.name for field in fields(cls)}:
            known = ", ".join(field.name for field in fields(cls))
            raise ConfigError(f"{cls.about} has no settings {sorted(unknown)}; known are {known}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by name."""
        return {**asdict(self), "betas": list(self.betas)}

    def but(self, **settings: Any) -> Self:
        """A copy with changed settings.

        Raises:
            ConfigError: an invalid value.
        """
        return replace(self, **settings)
