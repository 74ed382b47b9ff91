"""Any supported checkpoint -> (ModelConfig, state dict under our keys), strictly and without running what is in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marlin_sdk.config import PRESETS, ModelConfig
from marlin_sdk.errors import ConfigError, WeightsError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["load_weights", "read_checkpoint", "read_config", "to_published_keys"]

HEAD_DIM = 64  # of every published encoder and decoder
_MAX_CONFIG_BYTES = 1 << 20
_DISCRIMINATOR = "discriminator."

# The published layout, and ours. `projection.weight` also changes shape: a convolution's kernel there, a matrix here.
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
        config: the model's size, where the caller knows it.
        config_path: a Hub `config.json`, used when `config` is not given.
        preset: a published name, used when neither is given; else the size is inferred from the tensors.
    Returns:
        The config (its decoder left out where the file has none), and the tensors under this package's keys:
        `encoder.*` and, where there, `decoder.*`. A Lightning file's discriminator is left out.
    Raises:
        WeightsError: the file is no checkpoint, is not safe to open, or holds tensors that do not make one.
        ConfigError: `config.json` is not one.
    """
    published, hyper_parameters = _read_tensors(path)
    state = from_published_keys(published, path)
    if config is None and config_path is not None:
        config = read_config(config_path)
    elif config is None and hyper_parameters:
        config = _config_from_hyper_parameters(hyper_parameters)
    elif config is None and preset is not None:
        config = PRESETS[preset]
    if config is None:
        config = infer_config(state, path)
    has_decoder = any(key.startswith("decoder.") for key in state)
    if has_decoder and not config.has_decoder:
        raise WeightsError(f"{path} holds a decoder, but its config describes none; add the decoder_* values to it")
    return (config if has_decoder else config.without_decoder()), state


def read_config(path: Path) -> ModelConfig:
    """Read a Hub `config.json`.

    Raises:
        ConfigError: it is no JSON object, or no config of a MARLIN model.
    """
    if path.stat().st_size > _MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} has {path.stat().st_size} bytes; a model config has a few hundred")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds a {type(values).__name__}; expected an object of model sizes")
    try:
        return ModelConfig.from_dict(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def load_weights(module: nn.Module, state: Mapping[str, Tensor], *, source: str) -> None:
    """Load tensors into an encoder or autoencoder, strictly, naming every one that does not fit.

    Args:
        module: an `Encoder`, for which the decoder's tensors are passed over, or a `MaskedAutoencoder`. Where it
            lies on the meta device it takes the tensors as they are, without a copy.
        state: tensors from `read_checkpoint`.
        source: where they come from, for the message.
    Raises:
        WeightsError: tensors are missing, left over, misshapen, not floating point or not finite; all are listed, by
            the names that they have in published files.
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
        elif not state[key].is_floating_point():
            problems.append(f"{_published(key)} is {state[key].dtype}, expected floating point")
        elif not state[key].isfinite().all():
            problems.append(f"{_published(key)} holds NaN or infinity")
    if problems:
        listed = "\n  ".join(sorted(problems))
        raise WeightsError(f"{source} does not fit the model; {len(problems)} tensors differ:\n  {listed}")
    own = module.state_dict()
    fitting = {key: state[key] if key in state else state[f"encoder.{key}"] for key in own}
    module.load_state_dict(fitting, assign=any(tensor.is_meta for tensor in own.values()))


def from_published_keys(published: Mapping[str, Tensor], source: Path | str) -> dict[str, Tensor]:
    """Tensors of the published layout under this package's keys: `encoder.*`, `decoder.*`, nothing else.

    Raises:
        WeightsError: none of the keys is an encoder's.
    """
    state = {}
    for name, tensor in published.items():
        key = name.removeprefix("marlin.")
        if key.startswith(_DISCRIMINATOR):
            continue
        for theirs, ours in _RENAMES:
            key = key.replace(theirs, ours)
        state[key] = tensor.flatten(1) if key == _PATCH_WEIGHT else tensor
    if not any(key.startswith("encoder.") for key in state):
        some = ", ".join(list(published)[:5]) or "nothing"
        raise WeightsError(f"{source} holds no MARLIN encoder: expected keys like {_PATCH_WEIGHT!r}, got {some}")
    return state


def to_published_keys(state: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The inverse of `from_published_keys`: what marlin-pytorch and the published files call each tensor."""
    kernel = (3, config.tubelet_size, config.patch_size, config.patch_size)
    return {
        _published(key): tensor.reshape(-1, *kernel) if key == _PATCH_WEIGHT else tensor
        for key, tensor in state.items()
    }


def _published(key: str) -> str:
    for theirs, ours in _RENAMES:
        key = key.replace(ours, theirs)
    return key


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def infer_config(state: Mapping[str, Tensor], source: Path | str) -> ModelConfig:
    """The config of a bare state dict, from its shapes, with heads of 64 dims and frames of 16x16 patches.

    Raises:
        WeightsError: the shapes do not tell; the message says to pass `config=`.
    """
    try:
        patch_dim, dim = state[_PATCH_WEIGHT].shape[1], state[_PATCH_WEIGHT].shape[0]
        tokens = state["encoder.positions"].shape[1]
        mlp_ratio = state["encoder.blocks.0.mlp.up.weight"].shape[0] / dim
        patch_size, n_frames = 16, 16
        tubelet_size = patch_dim // (3 * patch_size**2)
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
            mlp_ratio=mlp_ratio,
        )
    except (ConfigError, KeyError, IndexError, ZeroDivisionError) as error:
        raise WeightsError(
            f"{source}: the model's size cannot be told from its tensors ({error}); pass config="
        ) from error
    if (config.num_tokens, config.patch_dim) != (tokens, patch_dim):
        raise WeightsError(f"{source}: {tokens} tokens of {patch_dim} values fit no 16-frame clip; pass config=")
    return config


def _num_heads(part: str, dim: int) -> int:
    if dim % HEAD_DIM:
        raise ConfigError(f"{part} dim {dim} is no multiple of {HEAD_DIM}, so its heads are unknown")
    return dim // HEAD_DIM


def _depth(state: Mapping[str, Tensor], part: str) -> int:
    found = {match[1] for key in state if (match := re.match(rf"{part}\.blocks\.(\d+)\.", key))}
    return len(found)


def _read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The flat tensors of a file, and a Lightning file's hyper-parameters."""
    if not path.is_file():
        raise WeightsError(f"no such checkpoint: {path}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    hyper_parameters = content.get("hyper_parameters")
    state = content.get("state_dict", content)
    if not isinstance(state, dict) or not all(isinstance(key, str) and _is_tensor(state[key]) for key in state):
        raise WeightsError(f"{path} is no state dict: expected a flat mapping of names to tensors")
    return state, hyper_parameters if isinstance(hyper_parameters, dict) else {}


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is no safetensors file, or is cut off: {error}") from error


def _read_pickle(path: Path) -> dict[str, Any]:
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is refused: it is no plain checkpoint of tensors, and opening it could run code. "
            "Save its state dict alone (torch.save(model.state_dict(), ...)) or as .safetensors where you trust it. "
            f"({str(error).splitlines()[0]})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(f"{path} is no torch checkpoint, or is cut off: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds a {type(content).__name__}; expected a state dict")
    return content


def _config_from_hyper_parameters(values: Mapping[str, Any]) -> ModelConfig | None:
    """A Lightning run keeps the model's sizes among settings of its own training; take those, leave the rest."""
    known = set(ModelConfig.__dataclass_fields__)
    sizes = {key: value for key, value in values.items() if key in known}
    if not {"encoder_embed_dim", "encoder_depth", "encoder_num_heads"} <= sizes.keys():
        return None
    return ModelConfig.from_dict(sizes)


def _is_tensor(value: object) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
