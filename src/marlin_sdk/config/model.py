"""The size of a MARLIN model, and the published sizes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from typing import Any

from marlin_sdk.errors import ConfigError

__all__ = ["DEFAULT_MODEL", "PRESETS", "ModelConfig", "preset"]

# A Hub config.json also holds entries that transformers adds, and options that the published models do not use.
_HUB_BOOKKEEPING = frozenset(
    {
        "_name_or_path",
        "architectures",
        "as_feature_extractor",
        "auto_map",
        "dtype",
        "model_type",
        "torch_dtype",
        "transformers_version",
    }
)
_HUB_FIXED: dict[str, Any] = {
    "attn_drop_rate": 0.0,
    "drop_rate": 0.0,
    "init_values": 0.0,
    "norm_layer": "LayerNorm",
    "qk_scale": None,
    "qkv_bias": True,
}
# Far above any model; a larger config is broken, or malicious.
_MAX_SIZE, _MAX_DEPTH, _MAX_VALUES = 1 << 16, 1 << 8, 1 << 34


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The size of a MARLIN encoder and of its decoder, if it has one.

    The field names are those of the published `config.json`. Source: MARLIN (arXiv 2211.06627), section 4.

    Raises:
        ConfigError: a size is not positive (or absurdly large) or not a multiple of another as required, or only some
            of the decoder's sizes are set.
    """

    encoder_embed_dim: int
    encoder_depth: int
    encoder_num_heads: int
    decoder_embed_dim: int | None = None
    decoder_depth: int | None = None
    decoder_num_heads: int | None = None
    img_size: int = 224
    patch_size: int = 16
    n_frames: int = 16
    tubelet_size: int = 2
    mlp_ratio: float = 4.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name.startswith("decoder_"):
                continue
            allowed = (int, float) if field.name == "mlp_ratio" else (int,)
            limit = _MAX_DEPTH if field.name.endswith("_depth") else _MAX_SIZE
            if not isinstance(value, allowed) or isinstance(value, bool) or not 0 < value <= limit:  # NaN too
                kind = allowed[-1].__name__
                raise ConfigError(f"ModelConfig.{field.name} is {value!r}; expected a positive {kind} up to {limit}")
        decoder = (self.decoder_embed_dim, self.decoder_depth, self.decoder_num_heads)
        if any(decoder) != all(decoder):
            raise ConfigError(
                f"ModelConfig has an incomplete decoder: (dim, depth, heads) = {decoder}; set all three or none"
            )
        self._check_multiple("encoder_embed_dim", self.encoder_num_heads, "encoder_num_heads")
        if self.decoder_embed_dim and self.decoder_num_heads:
            self._check_multiple("decoder_embed_dim", self.decoder_num_heads, "decoder_num_heads")
        if min(self.encoder_embed_dim, self.decoder_embed_dim or self.encoder_embed_dim) * self.mlp_ratio < 1:
            raise ConfigError(f"ModelConfig.mlp_ratio = {self.mlp_ratio} leaves the MLP without hidden units")
        self._check_multiple("img_size", self.patch_size, "patch_size")
        self._check_multiple("n_frames", self.tubelet_size, "tubelet_size")
        self._check_memory()

    def _check_multiple(self, name: str, divisor: int, divisor_name: str) -> None:
        if getattr(self, name) % divisor:
            raise ConfigError(
                f"ModelConfig.{name} = {getattr(self, name)} is not a multiple of {divisor_name} = {divisor}"
            )

    def _check_memory(self) -> None:
        """Reject a model whose parameters, or whose clips, would need more memory than any machine has."""
        parts = [(self.encoder_embed_dim, self.encoder_depth), (self.decoder_embed_dim or 0, self.decoder_depth or 0)]
        blocks = sum(depth * dim**2 * (4 + 2 * self.mlp_ratio) for dim, depth in parts)
        tables = sum(dim * (self.num_tokens + self.patch_dim) for dim, _ in parts)
        for what, count in (("parameters", blocks + tables), ("values in a clip", math.prod(self.clip_shape))):
            if count > _MAX_VALUES:
                raise ConfigError(
                    f"ModelConfig describes a model of {count:.3g} {what}; the limit is {_MAX_VALUES:.3g}"
                )

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along (time, height, width): (8, 14, 14) for the published models."""
        side = self.img_size // self.patch_size
        return self.n_frames // self.tubelet_size, side, side

    @property
    def num_tokens(self) -> int:
        """Tokens of a clip, in (t, h, w) order: 1568 for the published models."""
        time, height, width = self.grid
        return time * height * width

    @property
    def patch_dim(self) -> int:
        """Values in one tubelet of RGB pixels: 1536 for the published models."""
        return 3 * self.tubelet_size * self.patch_size**2

    @property
    def clip_shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of one clip."""
        return 3, self.n_frames, self.img_size, self.img_size

    @property
    def has_decoder(self) -> bool:
        """Whether the model has a decoder."""
        return self.decoder_embed_dim is not None

    def without_decoder(self) -> ModelConfig:
        """The same encoder without a decoder."""
        values = {**asdict(self), "decoder_embed_dim": None, "decoder_depth": None, "decoder_num_heads": None}
        return ModelConfig(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the keys of the published `config.json`; decoder keys only if there is one."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    def to_hub(self) -> dict[str, Any]:
        """Every entry of a published `config.json` but the class: its authors' model class has no defaults."""
        return {"model_type": "marlin", **self.to_dict(), **_HUB_FIXED, "as_feature_extractor": not self.has_decoder}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Parse the output of `to_dict` or a Hub `config.json`, strictly.

        Raises:
            ConfigError: a missing or unknown key, or an option with a value that this model does not support.
        """
        for key, expected in _HUB_FIXED.items():
            if values.get(key, expected) != expected:
                raise ConfigError(f"model config has {key} = {values[key]!r}; this encoder supports only {expected!r}")
        own = {field.name for field in fields(cls)}
        unknown = set(values) - own - _HUB_BOOKKEEPING - set(_HUB_FIXED)
        if unknown:
            raise ConfigError(f"model config has unknown keys {sorted(unknown)}; known are {sorted(own)}")
        missing = {"encoder_embed_dim", "encoder_depth", "encoder_num_heads"} - set(values)
        if missing:
            raise ConfigError(f"model config is missing the keys {sorted(missing)}")
        return cls(**{key: value for key, value in values.items() if key in own})


def _published(dim: int, depth: int, heads: int, decoder: tuple[int, int, int]) -> ModelConfig:
    return ModelConfig(
        encoder_embed_dim=dim,
        encoder_depth=depth,
        encoder_num_heads=heads,
        decoder_embed_dim=decoder[0],
        decoder_depth=decoder[1],
        decoder_num_heads=decoder[2],
    )


PRESETS: Mapping[str, ModelConfig] = {
    "marlin_vit_small_ytf": _published(384, 12, 6, (192, 4, 3)),
    "marlin_vit_base_ytf": _published(768, 12, 12, (384, 4, 6)),
    "marlin_vit_large_ytf": _published(1024, 24, 16, (512, 12, 8)),
}
"""The published models (trained on YouTube Faces), by name."""

DEFAULT_MODEL = "marlin_vit_base_ytf"
"""What commands use unless told otherwise."""


def preset(name: str) -> ModelConfig:
    """The config of a published model.

    Raises:
        ConfigError: unknown name; the message lists the known ones.
    """
    if name not in PRESETS:
        close = get_close_matches(name, PRESETS, n=1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"unknown model {name!r}{meant}; published models are {', '.join(PRESETS)}")
    return PRESETS[name]
