"""What can be set: the size of the model, and how a video is turned into clips. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from operator import index
from typing import Any, Literal, TypedDict, get_args

from marlin_sdk.errors import ConfigError

__all__ = [
    "PRESETS",
    "ExtractionConfig",
    "ExtractionSettings",
    "ModelConfig",
    "Reduction",
    "Tail",
    "preset",
    "whole_number",
]

Reduction = Literal["none", "mean", "max"]
Tail = Literal["pad", "drop"]
Faces = Literal["largest", "all"]
CropFace = Literal["auto"] | bool
Compat = Literal["marlin_pytorch"]

# A Hub config.json also holds what transformers notes for itself, and switches that the published models leave off.
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
_MAX_DETECT_EVERY = 32
_MAX_SIZE, _MAX_DEPTH = 1 << 16, 1 << 8  # far above any model; a config of more is broken, or meant to fill the memory


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The size of a MARLIN encoder and, where it has one, of its decoder.

    The field names are those of the published `config.json`. Source: MARLIN (arXiv 2211.06627), section 4.

    Raises:
        ConfigError: a size that is not positive (or absurdly large), does not divide what it must, or half a decoder.
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
            if not isinstance(value, allowed) or isinstance(value, bool) or not 0 < value <= limit:  # nor NaN
                kind = allowed[-1].__name__
                raise ConfigError(f"ModelConfig.{field.name} is {value!r}; expected a positive {kind} up to {limit}")
        decoder = (self.decoder_embed_dim, self.decoder_depth, self.decoder_num_heads)
        if any(decoder) != all(decoder):
            raise ConfigError(
                f"ModelConfig has half a decoder: (dim, depth, heads) = {decoder}; give all three or none"
            )
        self._divides("encoder_embed_dim", self.encoder_num_heads, "encoder_num_heads")
        if self.decoder_embed_dim and self.decoder_num_heads:
            self._divides("decoder_embed_dim", self.decoder_num_heads, "decoder_num_heads")
        if min(self.encoder_embed_dim, self.decoder_embed_dim or self.encoder_embed_dim) * self.mlp_ratio < 1:
            raise ConfigError(f"ModelConfig.mlp_ratio = {self.mlp_ratio} leaves the MLP no hidden unit")
        self._divides("img_size", self.patch_size, "patch_size")
        self._divides("n_frames", self.tubelet_size, "tubelet_size")

    def _divides(self, name: str, divisor: int, divisor_name: str) -> None:
        if getattr(self, name) % divisor:
            raise ConfigError(
                f"ModelConfig.{name} = {getattr(self, name)} is no multiple of {divisor_name} = {divisor}"
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
        """Whether the config describes a decoder too."""
        return self.decoder_embed_dim is not None

    def without_decoder(self) -> ModelConfig:
        """The same encoder with no decoder."""
        values = {**asdict(self), "decoder_embed_dim": None, "decoder_depth": None, "decoder_num_heads": None}
        return ModelConfig(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, in the keys of the published `config.json`; decoder keys only where there is one."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """Read `to_dict`'s form or a Hub `config.json`, strictly.

        Raises:
            ConfigError: a key that is missing or unknown, or a switch set to what this model does not do.
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
            raise ConfigError(f"model config lacks {sorted(missing)}")
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


def preset(name: str) -> ModelConfig:
    """The config of a published model.

    Raises:
        ConfigError: no such name; the message lists those there are.
    """
    if name not in PRESETS:
        raise ConfigError(f"unknown model {name!r}; published models are {', '.join(PRESETS)}")
    return PRESETS[name]


class ExtractionSettings(TypedDict, total=False):
    """The keyword arguments of `Marlin.extract_video`, `extract` and `stream`: see `ExtractionConfig`."""

    crop_face: CropFace
    faces: Faces
    sample_rate: int
    fps: float | None
    stride: int
    tail: Tail
    detect_every: int
    smooth: bool
    reduction: Reduction
    keep_seq: bool
    batch_size: int
    compat: Compat | None
    source_fps: float | None
    start_s: float | None
    end_s: float | None
    track: int | None


@dataclass(frozen=True, kw_only=True)
class ExtractionConfig:
    """How a video is cut into clips and embedded.

    Attributes:
        crop_face: True finds and crops faces; False takes frames as they are (they must have the model's size,
            224x224); "auto" crops unless the video already has that size.
        faces: "largest" embeds the most prominent face of each window, "all" gives a row for each face.
        sample_rate: source frames from one step of a clip to the next; 2 in the published model.
        fps: steps a second instead of `sample_rate`: the source is resampled by time (nearest frame).
        stride: steps from one window to the next; 16 leaves no overlap.
        tail: "pad" keeps the last partial window and repeats its last frame; "drop" leaves it out.
        detect_every: look for faces on every k-th sampled frame, and track in between; 1 looks at each. At most 32:
            some 3 * k + 8 frames wait in memory for the looks that settle where their faces are.
        smooth: median-smooth each track's centre and size. `detect_every=1, smooth=False` crops exactly what the
            detector saw.
        reduction: "none" gives a row for each window, "mean" and "max" one vector for the video.
        keep_seq: keep the tokens of a window, (1568, D), instead of their pooled vector.
        batch_size: clips embedded at once; halved by itself when a GPU runs out of memory.
        compat: "marlin_pytorch" gives the windows, boxes and rounding of that package (0.3.4), faults included.
        source_fps: frames a second of a source that has no clock of its own (an array, a folder of images);
            25 is assumed, with a warning in the result, where it is not given.
        start_s: take only what is shown from here on, in seconds from the start of the file; windows begin here. The
            file is decoded from its start all the same, so that frame numbers are exact.
        end_s: take only what is shown before.
        track: embed only the face with this `track_id`, as a run with `faces="all"` over the same part numbered it.

    Raises:
        ConfigError: a value outside what is said above, or settings that contradict each other.
    """

    crop_face: CropFace = "auto"
    faces: Faces = "largest"
    sample_rate: int = 2
    fps: float | None = None
    stride: int = 16
    tail: Tail = "pad"
    detect_every: int = 4
    smooth: bool = True
    reduction: Reduction = "none"
    keep_seq: bool = False
    batch_size: int = 8
    compat: Compat | None = None
    source_fps: float | None = None
    start_s: float | None = None
    end_s: float | None = None
    track: int | None = None

    def __post_init__(self) -> None:
        for name in ("sample_rate", "stride", "detect_every", "batch_size"):
            object.__setattr__(self, name, self._whole(name, 1))
        if self.detect_every > _MAX_DETECT_EVERY:
            raise ConfigError(
                f"detect_every is {self.detect_every}; expected at most {_MAX_DETECT_EVERY}: all frames from one look "
                "to the next but one wait in memory"
            )
        for name, choices in _CHOICES.items():
            if not any(_same(getattr(self, name), choice) for choice in choices):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected one of {list(choices)}")
        for name in ("smooth", "keep_seq"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; expected True or False")
        for name in ("fps", "source_fps"):
            rate = getattr(self, name)
            number = isinstance(rate, (int, float)) and not isinstance(rate, bool)
            if rate is not None and not (number and 0 < rate <= 1000):
                raise ConfigError(f"{name} is {rate!r}; expected frames a second, an int or float in (0, 1000]")
        if self.fps is not None and self.sample_rate != 2:
            raise ConfigError("fps and sample_rate are two ways to say the same thing; give one of them")
        if self.keep_seq and self.reduction != "none":
            raise ConfigError(f"keep_seq=True keeps every token, reduction={self.reduction!r} keeps one vector; choose")
        if self.faces == "all" and self.reduction != "none":
            raise ConfigError(
                f"reduction={self.reduction!r} would mix several faces into one vector; use faces='largest'"
            )
        self._check_part()
        if self.compat:
            self._check_compat()

    def _check_part(self) -> None:
        for name in ("start_s", "end_s"):
            time_s = getattr(self, name)
            number = isinstance(time_s, (int, float)) and not isinstance(time_s, bool)
            if time_s is not None and not (number and 0 <= time_s < float("inf")):
                raise ConfigError(f"{name} is {time_s!r}; expected seconds from the start of the video, at least 0")
        if self.end_s is not None and self.end_s <= (self.start_s or 0):
            raise ConfigError(f"end_s = {self.end_s} does not come after start_s = {self.start_s or 0}")
        if self.track is not None:
            object.__setattr__(self, "track", self._whole("track", 0, "the track_id of a face, "))

    def _whole(self, name: str, least: int, what: str = "") -> int:
        number = whole_number(getattr(self, name))
        if number is None or number < least:
            raise ConfigError(f"{name} is {getattr(self, name)!r}; expected {what}a whole number of at least {least}")
        return number

    def _check_compat(self) -> None:
        plain = ExtractionConfig()
        for name in ("faces", "fps", "tail", "detect_every", "smooth", "track"):
            if getattr(self, name) != getattr(plain, name):
                raise ConfigError(
                    f"compat={self.compat!r} fixes {name}, which marlin-pytorch does not have; leave one out"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, by name."""
        return asdict(self)


def whole_number(value: object) -> int | None:
    """A whole number of any kind (NumPy's, too) as an int; None for what is none: a bool, a float, a text."""
    try:
        return None if isinstance(value, bool) else index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def _same(value: object, choice: object) -> bool:
    """Equal and of one type: 1 == True, but it is no way to say it."""
    return type(value) is type(choice) and value == choice


_CHOICES: dict[str, tuple[Any, ...]] = {
    "crop_face": ("auto", True, False),
    "faces": get_args(Faces),
    "tail": get_args(Tail),
    "reduction": get_args(Reduction),
    "compat": (None, *get_args(Compat)),
}
