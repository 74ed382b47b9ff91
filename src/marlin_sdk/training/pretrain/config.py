"""What can be set in pretraining, and its YAML form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from marlin_sdk.atomic import atomic_path
from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, MissingExtraError
from marlin_sdk.training.pretrain.presets import model_size, recipe

__all__ = ["TASK", "PretrainConfig", "load_config", "save_config"]

TASK = "pretraining"
"""What its checkpoints call their settings."""

Masking = Literal["fasking", "fasking_opp", "tube", "random", "frame"]
Precision = Literal["auto", "32-true", "bf16-mixed"]
Strategy = Literal["auto", "ddp", "fsdp"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "masking": get_args(Masking),
    "precision": get_args(Precision),
    "strategy": get_args(Strategy),
}
_AT_LEAST = {
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
}
_OPTIONAL = ("max_steps", "clip_norm")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """How a model is pretrained. The defaults are the recipe `marlin`; see `from_preset`.

    Attributes:
        model: the size of the autoencoder, decoder included.
        masking: what is hidden; see `marlin_sdk.masking.patterns.make_masks`.
        mask_ratio: share of the tokens that is hidden, in (0, 1).
        normalise_target: rebuild tubelets normalised one by one, as VideoMAE does, instead of pixels in [0, 1].
        adv_weight: weight of the game against the discriminator; 0 leaves it out.
        d_steps: steps of the discriminator for each batch.
        g_steps: steps of the autoencoder for each batch.
        gradient_penalty: weight of the discriminator's gradient penalty.
        base_lr: learning rate for 256 clips a step; it grows in proportion to them.
        base_min_lr: where the cosine ends, for 256 clips a step.
        betas: of AdamW.
        weight_decay: of AdamW, on matrices only.
        clip_norm: largest norm of the autoencoder's gradient; None does not clip.
        warmup: share of the steps in which the learning rate grows from 0.
        epochs: passes over the data, where `max_steps` is not given.
        max_steps: steps in all.
        batch_size: clips at once on each device.
        accumulate: batches whose gradients make one step. Then the autoencoder plays against the discriminator as it
            was before the step, and `d_steps` and `g_steps` are 1.
        precision: "bf16-mixed" or "32-true"; "auto" is the first on CUDA, the second on a CPU.
        checkpoint_blocks: recompute each block in the backward pass instead of keeping it: less memory, a third slower.
        strategy: "auto" is "ddp" where there are several devices; "fsdp" shards weights and optimiser states.
        devices: devices, or CPU processes, on each node.
        num_nodes: machines.
        accelerator: "auto", "cpu" or "cuda".
        seed: of weights, order, windows and masks.
        num_workers: processes that read data, for each device.
        val_clips: held-out clips that `val_every` looks at.
        log_every: steps between two lines of the log.
        save_every: steps between two checkpoints.
        val_every: steps between two looks at the held-out clips.
        picture_every: steps between two pictures of reconstructions.

    Raises:
        ConfigError: a value outside what is said above.
    """

    model: ModelConfig
    masking: Masking = "fasking"
    mask_ratio: float = 0.9
    normalise_target: bool = False
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

    def __post_init__(self) -> None:
        if not self.model.has_decoder:
            raise ConfigError("pretraining needs a decoder; give decoder_embed_dim, _depth and _num_heads of the model")
        for name, least in _AT_LEAST.items():
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (value is None and name in _OPTIONAL) and not (whole and value >= least):
                raise ConfigError(f"{name} is {value!r}; expected a whole number of at least {least}{_spelling(value)}")
        for name, choices in {**_CHOICES, "accelerator": ("auto", "cpu", "cuda")}.items():
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        for name in ("normalise_target", "checkpoint_blocks"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected true or false")
        self._check_numbers()
        if self.accumulate > 1 and (self.d_steps, self.g_steps) != (1, 1):
            raise ConfigError("accumulate > 1 makes one step of each network a batch; leave d_steps and g_steps at 1")

    def _check_numbers(self) -> None:
        self._lies("mask_ratio", 0, 1)
        self._lies("warmup", 0, 1, closed=True)
        for name in ("base_lr", "adv_weight", "gradient_penalty", "weight_decay", "base_min_lr"):
            self._lies(name, 0, float("inf"), closed=name != "base_lr")
        if self.clip_norm is not None:
            self._lies("clip_norm", 0, float("inf"))
        betas = tuple(self.betas) if isinstance(self.betas, (list, tuple)) else ()
        if len(betas) != 2 or not all(_is_number(beta) and 0 <= beta < 1 for beta in betas):
            raise ConfigError(f"betas is {self.betas!r}; expected two numbers in [0, 1)")
        object.__setattr__(self, "betas", betas)  # a YAML list
        if not 0 < self.num_visible < self.model.num_tokens:
            raise ConfigError(
                f"mask_ratio {self.mask_ratio} shows {self.num_visible} of {self.model.num_tokens} tokens"
            )

    def _lies(self, name: str, low: float, high: float, *, closed: bool = False) -> None:
        value = getattr(self, name)
        fits = _is_number(value) and value != float("inf") and (low <= value <= high if closed else low < value < high)
        if not fits:
            limits = f"[{low}, {high}]" if closed else f"({low}, {high})"
            raise ConfigError(f"{name} is {value!r}; expected a number in {limits}{_spelling(value)}")

    @classmethod
    def from_preset(cls, name: str, model: str | ModelConfig, **settings: Any) -> PretrainConfig:
        """Published settings, and what differs from them.

        Args:
            name: "marlin" or "videomae".
            model: a published name ("marlin_vit_small"), for its size; or a size.
            settings: what to set otherwise.
        Raises:
            ConfigError: an unknown name or setting, or a value that cannot be used.
        """
        return cls.from_dict({**recipe(name), "model": model, **settings})

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PretrainConfig:
        """Read `to_dict`'s form. `model` may be a published name, and `preset` may name a recipe to start from.

        Raises:
            ConfigError: an unknown key or name, no model, or a value that cannot be used.
        """
        given = dict(values)
        if "preset" in given:
            given = {**recipe(str(given.pop("preset"))), **given}
        unknown = set(given) - {field.name for field in fields(cls)}
        if unknown:
            known = ", ".join(field.name for field in fields(cls))
            raise ConfigError(f"pretraining has no settings {sorted(unknown)}; known are {known}")
        model = given.pop("model", None)
        if isinstance(model, str):
            model = model_size(model)
        elif isinstance(model, Mapping):
            model = ModelConfig.from_dict(model)
        if not isinstance(model, ModelConfig):
            raise ConfigError(f"model is {model!r}; expected a published name, or a mapping of its sizes")
        return cls(model=model, **given)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by name."""
        return {**asdict(self), "model": self.model.to_dict(), "betas": list(self.betas)}

    def but(self, **settings: Any) -> PretrainConfig:
        """The same with other settings.

        Raises:
            ConfigError: a value that cannot be used.
        """
        return replace(self, **settings)

    @property
    def is_adversarial(self) -> bool:
        """Whether there is a discriminator."""
        return self.adv_weight > 0

    @property
    def clips_per_step(self) -> int:
        """Clips that one step sees, over all devices."""
        return self.batch_size * self.accumulate * self.devices * self.num_nodes

    @property
    def num_visible(self) -> int:
        """Visible tokens of a clip: 156 of 1568 at a ratio of 0.9."""
        from marlin_sdk.masking.patterns import count_visible

        return count_visible(self.model.num_tokens, self.mask_ratio)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _spelling(value: object) -> str:
    """What to say of a text that Python reads as a number, and YAML 1.1 does not: 1e-4."""
    try:
        return f"; YAML reads {value} as text: write {float(value)}" if isinstance(value, str) else ""
    except ValueError:
        return ""


def load_config(path: str | Path) -> dict[str, Any]:
    """Read the settings of a YAML file, for `PretrainConfig.from_dict`.

    Raises:
        ConfigError: no such file, no YAML, or no mapping.
        MissingExtraError: PyYAML is not installed.
    """
    yaml = _yaml()
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(f"{path} holds no mapping of settings to values")
    return values


def save_config(config: PretrainConfig, path: Path) -> None:
    """Write a config as YAML, whole or not at all.

    Raises:
        OSError: it cannot be written.
        MissingExtraError: PyYAML is not installed.
    """
    with atomic_path(path) as part:
        part.write_text(_yaml().safe_dump(config.to_dict(), sort_keys=False), encoding="utf-8")


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingExtraError("A config file of pretraining", "train") from error
    return yaml
