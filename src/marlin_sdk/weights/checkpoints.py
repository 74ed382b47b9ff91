"""Turn any supported checkpoint into a ModelConfig and a state dict in our keys, strictly."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlin_sdk.config import PRESETS, ModelConfig
from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.weights.tensors import read_tensors

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["load_weights", "read_checkpoint", "read_config", "to_published_keys"]

HEAD_DIM = 64  # of every published encoder and decoder
_MAX_CONFIG_BYTES = 1 << 20
_MAX_LISTED = 200  # of what does not fit
_DISCRIMINATOR = "discriminator."

# Parts of the published keys, and of ours.
_RENAMES = (
    ("enc_dec_proj.", "decoder.embed."),
    (".pos_embedding.emb", ".positions"),
    (".mlp.layers.0.linear.", ".mlp.up."),
    (".mlp.layers.1.linear.", ".mlp.down."),
)
_PATCH_WEIGHT = "encoder.patch_embedding.projection.weight"


def read_checkpoint(
    path: Path, *, config: ModelConfig | None = None, config_path: Path | None = None, preset: str | None = None
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Read a checkpoint in any of the formats in use.

    Args:
        path: a `.safetensors` file, or a `.pt`, `.pth` or Lightning `.ckpt` that holds only tensors and plain values.
        config: the model's size, if known to the caller.
        config_path: a Hub `config.json`, used if `config` is not given.
        preset: a published name, used if neither is given; otherwise the size is inferred from the tensors.
    Returns:
        The config (without a decoder if the file has none), and the tensors under this package's keys: `encoder.*` and,
        if present, `decoder.*`. The discriminator of a Lightning file is omitted.
    Raises:
        WeightsError: the file is not a checkpoint, is not safe to open, or its tensors are not those of a model.
        ConfigError: `config.json` is invalid.
    """
    published, hyper_parameters = read_tensors(path)
    state = from_published_keys(published, path)
    if config is None and config_path is not None:
        config = read_config(config_path)
    if config is None:
        config = _config_from_hyper_parameters(hyper_parameters, path)
    if config is None:
        config = infer_config(state, path) if preset is None else PRESETS[preset]
    has_decoder = any(key.startswith("decoder.") for key in state)
    if has_decoder and not config.has_decoder:
        raise WeightsError(f"{path} holds a decoder, but its config has none; add the decoder_* values to it")
    return (config if has_decoder else config.without_decoder()), state


def read_config(path: Path) -> ModelConfig:
    """Read a Hub `config.json`.

    Raises:
        ConfigError: it is not a JSON object, or not the config of a MARLIN model.
    """
    try:
        size = path.stat().st_size
        text = path.read_text(encoding="utf-8") if size <= _MAX_CONFIG_BYTES else ""
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if size > _MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} has {size} bytes; a model config has a few hundred")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; expected an object of model sizes")
    try:
        return ModelConfig.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def load_weights(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load tensors into an encoder or autoencoder, strictly, reporting those that do not fit.

    Args:
        module: an `Encoder`, for which the decoder's tensors are ignored, or a `MaskedAutoencoder`. On the meta device
            it takes the tensors without a copy.
        state: tensors from `read_checkpoint`.
        source: their origin, for the message.
    Raises:
        WeightsError: tensors are missing, unexpected, of the wrong shape, or not finite floating-point numbers; up to
            two hundred are listed, by their names in published files.
    """
    expected = module.state_dict()
    if not any(key.startswith("encoder.") for key in expected):
        expected = {f"encoder.{key}": tensor for key, tensor in expected.items()}
        state = {key: tensor for key, tensor in state.items() if not key.startswith("decoder.")}
    problems = [f"missing {_published(key)} {_shape(expected[key])}" for key in expected.keys() - state.keys()]
    problems += [f"unexpected {_published(key)} {_shape(state[key])}" for key in state.keys() - expected.keys()]
    for key in expected.keys() & state.keys():
        if state[key].shape != expected[key].shape:
            problems.append(f"{_published(key)} has shape {_shape(state[key])}, expected {_shape(expected[key])}")
        elif not _is_dense_float(state[key]):
            tensor = state[key]
            what = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"
            problems.append(f"{_published(key)} is {what}; expected dense floating-point values")
        elif not _is_finite(state[key]):
            problems.append(f"{_published(key)} holds NaN or infinity")
    if problems:
        listed = "\n  ".join(sorted(problems)[:_MAX_LISTED])
        listed += f"\n  and {len(problems) - _MAX_LISTED} more" if len(problems) > _MAX_LISTED else ""
        raise WeightsError(f"{source} does not fit the model; it differs in {len(problems)} places:\n  {listed}")
    current = module.state_dict()
    selected = {key: state[key] if key in state else state[f"encoder.{key}"] for key in current}
    module.load_state_dict(selected, assign=any(tensor.is_meta for tensor in current.values()))


def from_published_keys(published: Mapping[str, Tensor], source: Path | str) -> dict[str, Tensor]:
    """Rename tensors from published keys to this package's keys, without those of a discriminator.

    Raises:
        WeightsError: no key belongs to an encoder, or two keys name the same tensor.
    """
    state: dict[str, Tensor] = {}
    for name, tensor in published.items():
        key = name.removeprefix("marlin.")
        if key.startswith(_DISCRIMINATOR):
            continue
        for theirs, ours in _RENAMES:
            key = key.replace(theirs, ours)
        if key in state:
            raise WeightsError(f"{source} holds {_published(key)} twice, under two names; one of them is {name!r}")
        state[key] = tensor
    if not any(key.startswith("encoder.") for key in state):
        first = ", ".join(list(published)[:5]) or "nothing"
        raise WeightsError(f"{source} holds no MARLIN encoder: expected keys like {_PATCH_WEIGHT!r}, got {first}")
    return state


def to_published_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `from_published_keys`: rename tensors to the keys of marlin-pytorch and the published files.

    Args:
        state: the state dict of a `MaskedAutoencoder`, or the tensors of `read_checkpoint`.
    Raises:
        WeightsError: a key belongs neither to the encoder nor to the decoder.
    """
    unknown = [key for key in state if not key.startswith(("encoder.", "decoder."))]
    if unknown:
        raise WeightsError(f"keys begin with 'encoder.' or 'decoder.'; got {', '.join(unknown[:5])}")
    return {_published(key): tensor for key, tensor in state.items()}


def _published(key: str) -> str:
    for theirs, ours in _RENAMES:
        key = key.replace(ours, theirs)
    return key


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def infer_config(state: Mapping[str, Tensor], source: Path | str) -> ModelConfig:
    """Infer the config of a bare state dict from its shapes, given heads of 64 dims and clips of 16 square frames.

    Raises:
        WeightsError: the size cannot be inferred; the message says to pass `config=`.
    """
    n_frames = 16
    try:
        dim, _, tubelet_size, patch_size, _ = state[_PATCH_WEIGHT].shape
        tokens = state["encoder.positions"].shape[1]
        side = round((tokens * tubelet_size / n_frames) ** 0.5)
        heads = _num_heads("encoder", dim)
        decoder_dim = state["decoder.mask_token"].shape[-1] if "decoder.mask_token" in state else None
        config = ModelConfig(
            encoder_embed_dim=dim,
            encoder_depth=_depth(state, "encoder"),
            encoder_num_heads=heads,
            decoder_embed_dim=decoder_dim,
            decoder_depth=_depth(state, "decoder") or None,
            decoder_num_heads=_num_heads("decoder", decoder_dim) if decoder_dim else None,
            img_size=side * patch_size,
            patch_size=patch_size,
            n_frames=n_frames,
            tubelet_size=tubelet_size,
            mlp_ratio=_mlp_ratio(state["encoder.blocks.0.mlp.up.weight"].shape[0], dim),
        )
    except (ConfigError, KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(
            f"{source}: the model's size cannot be inferred from its tensors ({error}); pass config="
        ) from error
    if config.num_tokens != tokens:
        raise WeightsError(f"{source}: {tokens} tokens do not form a clip of {n_frames} square frames; pass config=")
    return config


def _num_heads(part: str, dim: int) -> int:
    if dim % HEAD_DIM:
        raise ConfigError(f"{part} dim {dim} is not a multiple of {HEAD_DIM}, so the number of heads is unknown")
    return dim // HEAD_DIM


def _mlp_ratio(hidden: int, dim: int) -> float:
    """The ratio from which `Block` computes `hidden` units again, despite rounding."""
    ratio = hidden / dim
    return ratio if int(dim * ratio) == hidden else math.nextafter(ratio, math.inf)


def _depth(state: Mapping[str, Tensor], part: str) -> int:
    blocks = {match[1] for key in state if (match := re.match(rf"{part}\.blocks\.(\d+)\.", key))}
    return len(blocks)


def _config_from_hyper_parameters(values: Mapping[str, Any], path: Path) -> ModelConfig | None:
    """The model's sizes from a Lightning run's hyper-parameters, which also hold its training settings."""
    names = {*ModelConfig.__dataclass_fields__, "qk_scale"}  # other settings of the computation show in the tensors
    sizes = {key: value for key, value in values.items() if key in names}
    if not {"encoder_embed_dim", "encoder_depth", "encoder_num_heads"} <= sizes.keys():
        return None
    try:
        return ModelConfig.from_dict(sizes)
    except ConfigError as error:
        raise ConfigError(f"hyper_parameters of {path}: {error}; or pass config=") from error


def _is_finite(tensor: Tensor) -> bool:
    values = tensor.float()
    # A sum is many times faster than a test of each value; if it is not finite, it may only have overflowed.
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())


def _is_dense_float(tensor: Tensor) -> bool:
    import torch

    return tensor.is_floating_point() and tensor.layout == torch.strided and not tensor.is_meta
