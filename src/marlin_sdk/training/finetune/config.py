"""Settings of fine-tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from marlin_sdk.errors import ConfigError
from marlin_sdk.training.settings import check_choice, check_flag, check_integer, check_number, is_number

__all__ = ["FROM_RANDOM", "TASK", "FinetuneConfig", "HeadKind", "WindowPool"]

TASK = "finetuning"
"""The key of the settings in its checkpoints."""

HeadKind = Literal["linear", "attentive"]

WindowPool = Literal["mean", "time"]
"""What the head reads of a window: the mean of its tokens, or of those of each time step; as extraction pools them."""

FROM_RANDOM: dict[str, Any] = {"linear_probe": False, "opening": 0.0, "layer_decay": 1.0}
"""Settings for random weights, which have nothing to be preserved: all layers learn at once, and alike."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "head": get_args(HeadKind),
    "pool": get_args(WindowPool),
    "precision": ("auto", "32-true", "bf16-mixed"),
    "strategy": ("auto", "ddp"),
    "accelerator": ("auto", "cpu", "cuda"),
    "protocol": ("own", "marlin"),
}
_MINIMUM = {
    "sample_rate": 1, "stride": 1, "epochs": 1, "batch_size": 1, "accumulate": 1, "patience": 0, "devices": 1,
    "num_nodes": 1, "seed": 0, "log_every": 1, "save_every": 1, "train_windows": 1, "test_batch": 1,
}  # fmt: skip
_FLAGS = ("class_weights", "flip", "checkpoint_blocks", "linear_probe")
# name: lowest, highest, and whether these are allowed
_RANGES: dict[str, tuple[float, float, bool]] = {
    "base_lr": (0, float("inf"), False),
    "base_min_lr": (0, float("inf"), True),
    "layer_decay": (0, 1, True),
    "head_lr": (0, float("inf"), False),
    "weight_decay": (0, float("inf"), True),
    "warmup": (0, 1, True),
    "opening": (0, 1, True),
    "label_smoothing": (0, 0.5, True),
    "mixup": (0, 10, True),
    "colour": (0, 1, True),
    "crop_jitter": (0, 0.5, True),
    "jitter_s": (0, 60, True),
    "max_broken": (0, 1, True),
}


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Settings of fine-tuning.

    Attributes:
        label: a label column, or a pattern of several ("appearance.*").
        kind: "classification" or "regression"; None decides by the label's type.
        head: "linear", on the mean of a clip's windows; or "attentive", which learns which windows matter.
        pool: "mean", one vector a window; or "time", one for each of its 8 time steps, joined: for labels that are in
            the order of events, such as words.
        sample_rate: source frames from one frame of a window to the next.
        stride: sampled frames from one window of a test clip to the next.
        jitter_s: a training window may begin so much before the labelled part, and end so much after it.
        train_windows: windows of a clip in a training step; more than one for the attentive head only.
        epochs: passes over the training clips.
        batch_size: clips in a batch on each device; fewer where there are fewer.
        accumulate: batches whose gradients are accumulated for one step.
        base_lr: highest learning rate of the last block, for 256 clips a step.
        base_min_lr: final learning rate of the cosine decay, for 256 clips a step.
        head_lr: the head's learning rate, as a multiple of the last block's.
        layer_decay: the learning rate of each block, as a share of that of the block above it.
        warmup: fraction of the steps in which the learning rate grows from 0.
        opening: fraction of the steps in which blocks open one after the other, the last block first; 0 trains all from
            the start.
        betas: of AdamW.
        weight_decay: of AdamW, on matrices only.
        clip_norm: largest norm of the gradient; None does not clip.
        label_smoothing: share of a class's probability that is spread over all.
        class_weights: weigh clips so that all classes count the same.
        mixup: alpha of the distribution from which two clips' shares are drawn; 0 mixes none.
        flip: mirror half of the clips.
        colour: largest relative change of brightness, contrast and saturation.
        crop_jitter: largest shift, and change of size, of the crop, as a share of its side.
        linear_probe: start with the head of a linear probe of the frozen encoder; else with a random one, better for an
            encoder with random weights. Either way the probe is the first candidate for the best epoch.
        patience: epochs without improvement on the validation part after which the run ends; 0 goes on to the end.
        max_broken: share of the clips that may turn out to be damaged before the run stops.
        protocol: "marlin" trains as the published code does; see `marlin_sdk.training.finetune.protocol`.
        precision: "bf16-mixed" or "32-true"; "auto" is the first on CUDA, the second on a CPU.
        checkpoint_blocks: recompute each block in the backward pass instead of storing its activations.
        strategy: "auto" is "ddp" on several devices.
        devices: devices, or CPU processes, on each node.
        num_nodes: machines.
        accelerator: "auto", "cpu" or "cuda".
        seed: of the split, order, windows, augmentation and the head.
        num_workers: data loader processes, for each device; None takes one on a CPU with several cores, and up to four
            for a GPU. What is read, and so the result, does not depend on it.
        test_batch: windows in a batch of a test.
        log_every: steps between two log entries.
        save_every: steps between two checkpoints.

    Raises:
        ConfigError: a value outside the ranges above.
    """

    label: str
    kind: Literal["classification", "regression"] | None = None
    head: HeadKind = "linear"
    pool: WindowPool = "mean"
    sample_rate: int = 2
    stride: int = 16
    jitter_s: float = 0.0
    train_windows: int = 1
    epochs: int = 30
    batch_size: int = 16
    accumulate: int = 1
    base_lr: float = 2e-3
    base_min_lr: float = 1e-6
    head_lr: float = 1.0
    layer_decay: float = 0.75
    warmup: float = 0.1
    opening: float = 0.2
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.05
    clip_norm: float | None = 5.0
    label_smoothing: float = 0.1
    class_weights: bool = True
    mixup: float = 0.0
    flip: bool = True
    colour: float = 0.1
    crop_jitter: float = 0.0
    linear_probe: bool = True
    patience: int = 10
    max_broken: float = 0.05
    protocol: Literal["own", "marlin"] = "own"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    checkpoint_blocks: bool = False
    strategy: Literal["auto", "ddp"] = "auto"
    devices: int = 1
    num_nodes: int = 1
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    num_workers: int | None = None
    test_batch: int = 16
    log_every: int = 10
    save_every: int = 200

    def __post_init__(self) -> None:
        if not isinstance(self.label, str) or not self.label:
            raise ConfigError(f"label is {self.label!r}; expected the name of a column, or a pattern")
        check_choice("kind", self.kind or "classification", ("classification", "regression"))
        for name, minimum in _MINIMUM.items():
            check_integer(name, getattr(self, name), minimum)
        for name, choices in _CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        for name in _FLAGS:
            check_flag(name, getattr(self, name))
        for name, (low, high, closed) in _RANGES.items():
            check_number(name, getattr(self, name), low, high, closed=closed)
        if self.num_workers is not None:
            check_integer("num_workers", self.num_workers, 0)
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0, float("inf"))
        betas = tuple(self.betas) if isinstance(self.betas, (list, tuple)) else ()
        if len(betas) != 2 or not all(is_number(beta) and 0 <= beta < 1 for beta in betas):
            raise ConfigError(f"betas is {self.betas!r}; expected two numbers in [0, 1)")
        object.__setattr__(self, "betas", betas)  # a YAML list
        if self.train_windows > 1 and self.head != "attentive":
            raise ConfigError("train_windows > 1 is for the attentive head; the linear one learns from single windows")
        if self.protocol == "marlin" and (self.head, self.pool) != ("linear", "mean"):
            raise ConfigError("MARLIN's protocol has a linear head on the mean of the tokens; leave head and pool out")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FinetuneConfig:
        """Parse the output of `to_dict`.

        Raises:
            ConfigError: an unknown key, no label, or an invalid value.
        """
        unknown = set(values) - {field.name for field in fields(cls)}
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise ConfigError(f"fine-tuning has no settings {sorted(unknown)}; known are {known}")
        if "label" not in values:
            raise ConfigError("label is missing; expected the name of a column, or a pattern")
        return cls(**values)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """The settings there are."""
        return tuple(field.name for field in fields(cls))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by name."""
        return {**asdict(self), "betas": list(self.betas)}

    def but(self, **settings: Any) -> FinetuneConfig:
        """A copy with changed settings.

        Raises:
            ConfigError: an invalid value.
        """
        return replace(self, **settings)

    @property
    def max_steps(self) -> None:
        """The length is in epochs."""
        return None

    @property
    def clips_per_step(self) -> int:
        """Clips in one step, over all devices."""
        return self.batch_size * self.accumulate * self.devices * self.num_nodes
