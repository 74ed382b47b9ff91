"""Model sizes and extraction settings."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.making import TINY

from marlin_sdk.config import PRESETS, ExtractionConfig, ExtractionSettings, ModelConfig, preset
from marlin_sdk.errors import ConfigError

# The config of a Hub repo of the reference, written by transformers.
HUB: dict[str, Any] = {
    "_name_or_path": "ControlNet/marlin_vit_small_ytf",
    "architectures": ["MarlinModel"],
    "as_feature_extractor": True,
    "attn_drop_rate": 0.0,
    "auto_map": {"AutoConfig": "config.MarlinConfig", "AutoModel": "marlin.MarlinModel"},
    "decoder_depth": 4,
    "decoder_embed_dim": 192,
    "decoder_num_heads": 3,
    "drop_rate": 0.0,
    "encoder_depth": 12,
    "encoder_embed_dim": 384,
    "encoder_num_heads": 6,
    "img_size": 224,
    "init_values": 0.0,
    "mlp_ratio": 4.0,
    "model_type": "marlin",
    "n_frames": 16,
    "norm_layer": "LayerNorm",
    "patch_size": 16,
    "qk_scale": None,
    "qkv_bias": True,
    "torch_dtype": "float32",
    "transformers_version": "4.50.3",
    "tubelet_size": 2,
}
ENCODER = {"encoder_embed_dim": 384, "encoder_depth": 12, "encoder_num_heads": 6}


def _heads(draw: st.DrawFn, part: str) -> dict[str, int]:
    heads, width = draw(st.integers(1, 16)), draw(st.integers(1, 64))
    return {f"{part}_embed_dim": heads * width, f"{part}_num_heads": heads, f"{part}_depth": draw(st.integers(1, 256))}


@st.composite
def configs(draw: st.DrawFn) -> ModelConfig:
    tubelet, patch = draw(st.integers(1, 4)), draw(st.integers(1, 32))
    return ModelConfig(
        **_heads(draw, "encoder"),
        **(_heads(draw, "decoder") if draw(st.booleans()) else {}),
        tubelet_size=tubelet,
        n_frames=tubelet * draw(st.integers(1, 16)),
        patch_size=patch,
        img_size=patch * draw(st.integers(1, 20)),
        mlp_ratio=draw(st.floats(1, 8)),
    )


def test_published_models_have_the_sizes_of_the_paper() -> None:
    each = ("embed_dim", "depth", "num_heads")
    sizes = {
        name: tuple(getattr(config, f"{part}_{size}") for part in ("encoder", "decoder") for size in each)
        for name, config in PRESETS.items()
    }
    assert sizes == {
        "marlin_vit_small_ytf": (384, 12, 6, 192, 4, 3),
        "marlin_vit_base_ytf": (768, 12, 12, 384, 4, 6),
        "marlin_vit_large_ytf": (1024, 24, 16, 512, 12, 8),
    }
    for config in PRESETS.values():
        assert (config.grid, config.num_tokens, config.patch_dim) == ((8, 14, 14), 1568, 1536)
        assert config.clip_shape == (3, 16, 224, 224)


def test_unknown_preset_lists_the_known_ones() -> None:
    assert preset("marlin_vit_base_ytf") is PRESETS["marlin_vit_base_ytf"]
    with pytest.raises(ConfigError, match=r"'marlin_vit_huge'.*marlin_vit_small_ytf.*marlin_vit_large_ytf"):
        preset("marlin_vit_huge")


def test_config_of_a_hub_repo_is_read() -> None:
    assert ModelConfig.from_dict(HUB) == PRESETS["marlin_vit_small_ytf"]


@pytest.mark.parametrize(
    ("key", "value"),
    [("qkv_bias", False), ("qk_scale", 0.5), ("norm_layer", "RMSNorm"), ("init_values", 0.1), ("drop_rate", 0.1)],
)
def test_unsupported_option_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        ModelConfig.from_dict({**HUB, key: value})


def test_unknown_and_missing_keys_are_named() -> None:
    with pytest.raises(ConfigError, match=r"unknown keys \['encoder_dim'\].*encoder_embed_dim"):
        ModelConfig.from_dict({**HUB, "encoder_dim": 384})
    with pytest.raises(ConfigError, match=r"missing the keys \['encoder_depth', 'encoder_num_heads'\]"):
        ModelConfig.from_dict({"encoder_embed_dim": 384})


@given(configs())
def test_config_survives_its_dict(config: ModelConfig) -> None:
    assert ModelConfig.from_dict(config.to_dict()) == config
    assert config.has_decoder == ("decoder_embed_dim" in config.to_dict())
    bare = config.without_decoder()
    assert not bare.has_decoder
    assert bare.to_dict() == {key: value for key, value in config.to_dict().items() if not key.startswith("decoder_")}


@given(configs())
def test_tokens_cover_every_pixel_once(config: ModelConfig) -> None:
    assert config.num_tokens * config.patch_dim == math.prod(config.clip_shape)
    assert config.num_tokens == math.prod(config.grid)


@pytest.mark.parametrize("value", [0, -1, 12.0, "12", True, None, math.nan, 1 << 40])
def test_size_that_is_not_a_positive_integer_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="encoder_depth is"):
        ModelConfig(**{**ENCODER, "encoder_depth": value})


@pytest.mark.parametrize("value", [0, -4.0, math.nan, math.inf, "4", True, 1e-9])
def test_mlp_ratio_without_hidden_units_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match="mlp_ratio"):
        ModelConfig(**ENCODER, mlp_ratio=value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_num_heads": 5}, "encoder_embed_dim = 384 is not a multiple of encoder_num_heads = 5"),
        ({"img_size": 225}, "img_size = 225 is not a multiple of patch_size = 16"),
        ({"n_frames": 15}, "n_frames = 15 is not a multiple of tubelet_size = 2"),
        ({"decoder_embed_dim": 192}, "incomplete decoder"),
        ({"decoder_embed_dim": 192, "decoder_depth": 4, "decoder_num_heads": 5}, "not a multiple of decoder_num_heads"),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**{**ENCODER, **change})


def test_configs_are_frozen() -> None:
    for config, name in ((TINY, "img_size"), (ExtractionConfig(), "stride")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, name, 1)


def test_defaults_are_those_of_the_published_model() -> None:
    config = ExtractionConfig()
    assert (config.sample_rate, config.stride, config.tail, config.crop_face) == (2, 16, "pad", "auto")
    assert (config.faces, config.detect_every, config.smooth) == ("largest", 4, True)
    assert (config.reduction, config.keep_seq, config.batch_size, config.compat) == ("none", False, 8, None)
    assert config.pool == "mean"


def test_typed_keywords_are_the_fields_of_the_config() -> None:
    assert get_type_hints(ExtractionSettings) == get_type_hints(ExtractionConfig)


def test_settings_survive_their_dict() -> None:
    config = ExtractionConfig(fps=12.5, tail="drop", crop_face=True, faces="all", source_fps=30)
    assert ExtractionConfig(**config.to_dict()) == config


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in ("sample_rate", "stride", "detect_every", "batch_size") for value in (0, -1, 2.0, True)]
    + [(name, value) for name in ("fps", "source_fps") for value in (0, -25, math.nan, math.inf, "25", True, 1e6)]
    + [("crop_face", value) for value in ("yes", 1, 0, None, 1.0)]
    + [("faces", "both"), ("tail", "wrap"), ("reduction", "median"), ("reduction", None), ("compat", "videomae")]
    + [("smooth", 1), ("keep_seq", "no"), ("compat", ""), ("tail", ["pad"]), ("pool", "max"), ("pool", None)],
)
def test_setting_outside_its_range_is_named_with_its_value(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        ExtractionConfig(**{name: value})
    assert str(caught.value).startswith(f"{name} is {value!r}; expected ")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fps": 10, "sample_rate": 3}, "fps and sample_rate"),
        ({"keep_seq": True, "reduction": "mean"}, "keep_seq"),
        ({"keep_seq": True, "pool": "time"}, "keep_seq=True returns every token, pool='time' means over them"),
        ({"keep_seq": True, "pool": "regions"}, "pass only one of them"),
        ({"compat": "marlin_pytorch", "pool": "regions"}, "pool='regions' has no landmarks; use another pool"),
        ({"faces": "all", "reduction": "max"}, "mix several faces"),
        ({"compat": "marlin_pytorch", "tail": "drop"}, "fixes tail"),
        ({"compat": "marlin_pytorch", "smooth": False}, "fixes smooth"),
        ({"compat": "marlin_pytorch", "faces": "all"}, "fixes faces"),
        ({"compat": "marlin_pytorch", "fps": 10.0}, "fixes fps"),
        ({"compat": "marlin_pytorch", "detect_every": 1}, "fixes detect_every"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ExtractionConfig(**settings)


def test_compat_supports_the_settings_of_the_reference() -> None:
    config = ExtractionConfig(compat="marlin_pytorch", sample_rate=3, stride=8, crop_face=True, reduction="mean")
    assert (config.sample_rate, config.stride) == (3, 8)


@pytest.mark.parametrize("name", ["sample_rate", "stride", "detect_every", "batch_size", "track"])
@pytest.mark.parametrize("kind", [np.int64, np.uint8])
def test_integers_of_numpy_are_accepted(name: str, kind: type[np.integer[Any]]) -> None:
    value = getattr(ExtractionConfig(**{name: kind(3)}), name)
    assert (value, type(value)) == (3, int)


@pytest.mark.parametrize("value", [True, np.bool_(True), 2.0, np.float64(2), "2", None, [2]])
def test_value_that_is_not_an_integer_is_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"stride is .*expected an integer of at least 1"):
        ExtractionConfig(stride=value)


def test_detection_interval_is_limited_by_memory() -> None:
    assert ExtractionConfig(detect_every=32).detect_every == 32
    with pytest.raises(ConfigError, match=r"detect_every is 33; expected at most 32.*wait in memory"):
        ExtractionConfig(detect_every=33)


@pytest.mark.parametrize(
    ("sizes", "what"),
    [
        ({"encoder_embed_dim": 65536, "encoder_depth": 256, "encoder_num_heads": 64}, "parameters"),
        ({"encoder_embed_dim": 65536, "encoder_depth": 1, "encoder_num_heads": 1, "mlp_ratio": 65536.0}, "parameters"),
        ({"patch_size": 1, "img_size": 65536, "n_frames": 65536, "tubelet_size": 1}, "parameters"),
        ({"patch_size": 8192, "img_size": 65536, "n_frames": 512, "tubelet_size": 512}, "values in a clip|parameters"),
        (
            {"decoder_embed_dim": 65536, "decoder_depth": 256, "decoder_num_heads": 64},
            "parameters",
        ),
    ],
)
def test_model_that_no_machine_holds_is_refused(sizes: dict[str, Any], what: str) -> None:
    small = {"encoder_embed_dim": 384, "encoder_depth": 12, "encoder_num_heads": 6}
    with pytest.raises(ConfigError, match=rf"describes a model of .* ({what}); the limit is 1\.72e\+10"):
        ModelConfig.from_dict({**small, **sizes})


def test_models_far_larger_than_the_published_ones_are_allowed() -> None:
    giant = ModelConfig(encoder_embed_dim=1408, encoder_depth=40, encoder_num_heads=16, mlp_ratio=48 / 11, img_size=448)
    assert giant.num_tokens == 6272
