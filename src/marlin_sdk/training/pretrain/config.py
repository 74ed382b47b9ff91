"""Settings of pretraining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.training.pretrain.presets import model_size, recipe
from marlin_sdk.training.settings import check_choice, check_flag, check_integer, check_number, is_number

__all__ = ["TASK", "PretrainConfig"]

TASK = "pretraining"
"""The key of the settings in its checkpoints."""

Masking = Literal["fasking", "fasking_opp", "crfr", "tube", "random", "frame"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
Strategy = Literal["auto", "ddp", "fsdp"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "masking": get_args(Masking),
    "precision": get_args(Precision),
    "strategy": get_args(Strategy),
}
_MINIMUM = {
    "batch_size": 1,
    "accumulate": 1,
    "d_steps": 1,
    "g_steps": 1,
    "epochs": 1,
    "max_steps": 1,
    "devices": 1,
    "num_nodes": 1,
    "seed": 0,
    "num_workers": 0,
    "val_clips": 1,
    "log_every": 1,
    "save_every": 1,
    "val_every": 1,
    "picture_every": 1,
    "probe_every": 1,
}
_OPTIONAL = ("max_steps", "clip_norm")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Settings of pretraining. The defaults are the recipe `marlin`; see `from_preset`.

    Attributes:
        model: the size of the autoencoder, decoder included.
        masking: the masking strategy; see `marlin_sdk.masking.patterns.make_masks`.
        mask_ratio: fraction of the tokens that is masked, in (0, 1).
        normalise_target: reconstruct normalised tubelets, as in VideoMAE, instead of pixels in [0, 1].
        visible_weight: weight of the same error on the visible tubelets. MARLIN and VideoMAE have 0; in short runs it
            keeps the tokens from becoming all alike, and makes features better: docs/explanation/pretraining.md.
        adv_weight: weight of the adversarial loss; 0 trains without a discriminator.
        d_steps: steps of the discriminator for each batch.
        g_steps: steps of the autoencoder for each batch.
        gradient_penalty: weight of the discriminator's gradient penalty.
        base_lr: learning rate for 256 clips a step; it scales linearly with their number.
        base_min_lr: final learning rate of the cosine decay, for 256 clips a step.
        betas: of AdamW.
        weight_decay: of AdamW, on matrices only.
        clip_norm: largest norm of the autoencoder's gradient; None does not clip.
        warmup: fraction of the steps in which the learning rate grows from 0.
        epochs: passes over the data, if `max_steps` is not given.
        max_steps: total steps.
        batch_size: clips in a batch on each device.
        accumulate: batches whose gradients are accumulated for one step. The autoencoder's adversarial loss then uses
            the discriminator before its step, and `d_steps` and `g_steps` are 1.
        precision: "bf16-mixed" or "32-true"; "auto" is the first on CUDA, the second on a CPU.
        checkpoint_blocks: recompute each block in the backward pass instead of storing its activations: less memory, a
            third slower.
        strategy: "auto" is "ddp" on several devices; "fsdp" shards weights and optimiser states.
        devices: devices, or CPU processes, on each node.
        num_nodes: machines.
        accelerator: "auto", "cpu" or "cuda".
        seed: of weights, order, windows and masks.
        num_workers: data loader processes, for each device.
        val_clips: number of held-out clips to validate on.
        log_every: steps between two log entries.
        save_every: steps between two checkpoints.
        val_every: steps between two validations on held-out clips.
        picture_every: steps between two pictures of reconstructions.
        probe_every: steps between two probes of the encoder on labelled clips, if there are any.

    Raises:
        ConfigError: a value outside the ranges above.
    """

    model: ModelConfig
    masking: Masking = "fasking"
    mask_ratio: float = 0.9
    normalise_target: bool = False
    visible_weight: float = 0.0
    adv_weight: float = 0.01
    d_steps: int = 1
    g_steps: int = 1
    gradient_penalty: float = 0.0
    base_lr: float = 1.5e-4
    base_min_lr: float = 1e-5
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    clip_norm: float | None = None
    warmup: float = 0.02
    epochs: int = 2000
    max_steps: int | None = None
    batch_size: int = 16
    accumulate: int = 1
    precision: Precision = "auto"
    checkpoint_blocks: bool = False
    strategy: Strategy = "auto"
    devices: int = 1
    num_nodes: int = 1
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0
    num_workers: int = 2
    val_clips: int = 64
    log_every: int = 10
    save_every: int = 500
    val_every: int = 500
    picture_every: int = 500
    probe_every: int = 500

    def __post_init__(self) -> None:
        if not self.model.has_decoder:
            raise ConfigError("pretraining needs a decoder; set decoder_embed_dim, _depth and _num_heads of the model")
        for name, minimum in _MINIMUM.items():
            if not (name in _OPTIONAL and getattr(self, name) is None):
                check_integer(name, getattr(self, name), minimum)
        for name, choices in {**_CHOICES, "accelerator": ("auto", "cpu", "cuda")}.items():
            check_choice(name, getattr(self, name), choices)
        for name in ("normalise_target", "checkpoint_blocks"):
            check_flag(name, getattr(self, name))
        self._check_numbers()
        if self.accumulate > 1 and (self.d_steps, self.g_steps) != (1, 1):
            raise ConfigError("accumulate > 1 does not support several steps per batch; leave d_steps and g_steps at 1")

    def _check_numbers(self) -> None:
        check_number("mask_ratio", self.mask_ratio, 0, 1)
        check_number("warmup", self.warmup, 0, 1, closed=True)
        for name in ("base_lr", "visible_weight", "adv_weight", "gradient_penalty", "weight_decay", "base_min_lr"):
            check_number(name, getattr(self, name), 0, float("inf"), closed=name != "base_lr")
        if self.clip_norm is not None:
            check_number("clip_norm", self.clip_norm, 0, float("inf"))
        betas = tuple(self.betas) if isinstance(self.betas, (list, tuple)) else ()
        if len(betas) != 2 or not all(is_number(beta) and 0 <= beta < 1 for beta in betas):
            raise ConfigError(f"betas is {self.betas!r}; expected two numbers in [0, 1)")
        object.__setattr__(self, "betas", betas)  # a YAML list
        if not 0 < self.num_visible < self.model.num_tokens:
            raise ConfigError(
                f"mask_ratio {self.mask_ratio} leaves {self.num_visible} of {self.model.num_tokens} tokens visible"
            )

    @classmethod
    def from_preset(cls, name: str, model: str | ModelConfig, **settings: Any) -> PretrainConfig:
        """Published settings, with changes.

        Args:
            name: "marlin" or "videomae".
            model: a published name ("marlin_vit_small"), for its size; or a size.
            settings: the settings to change.
        Raises:
            ConfigError: an unknown name or setting, or an invalid value.
        """
        return cls.from_dict({**recipe(name), "model": model, **settings})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PretrainConfig:
        """Parse the output of `to_dict`. `model` may be a published name, and `preset` the name of a recipe to modify.

        Raises:
            ConfigError: an unknown key or name, no model, or an invalid value.
        """
        settings = dict(values)
        if "preset" in settings:
            settings = {**recipe(str(settings.pop("preset"))), **settings}
        unknown = set(settings) - {field.name for field in fields(cls)}
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise ConfigError(f"pretraining has no settings {sorted(unknown)}; known are {known}")
        model = settings.pop("model", None)
        if isinstance(model, str):
            model = model_size(model)
        elif isinstance(model, Mapping):
            model = ModelConfig.from_dict(model)
        if not isinstance(model, ModelConfig):
            raise ConfigError(f"model is {model!r}; expected a published name, or a mapping of its sizes")
        return cls(model=model, **settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by name."""
        return {**asdict(self), "model": self.model.to_dict(), "betas": list(self.betas)}

    def but(self, **settings: Any) -> PretrainConfig:
        """A copy with changed settings.

        Raises:
            ConfigError: an invalid value.
        """
        return replace(self, **settings)

    @property
    def is_adversarial(self) -> bool:
        """Whether there is a discriminator."""
        return self.adv_weight > 0

    @property
    def clips_per_step(self) -> int:
        """Clips in one step, over all devices."""
        return self.batch_size * self.accumulate * self.devices * self.num_nodes

    @property
    def num_visible(self) -> int:
        """Visible tokens of a clip: 156 of 1568 at a ratio of 0.9."""
        from marlin_sdk.masking.patterns import count_visible

        return count_visible(self.model.num_tokens, self.mask_ratio)
