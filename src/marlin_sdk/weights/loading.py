"""Build networks with weights from a checkpoint or random weights, and identify the weights."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from marlin_sdk.config import PRESETS, ModelConfig, preset
from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.model import Encoder, MaskedAutoencoder
from marlin_sdk.weights.checkpoints import load_weights, read_checkpoint, read_config
from marlin_sdk.weights.hub import ModelFiles, resolve_model
from marlin_sdk.weights.identity import describe_untrained, describe_weights
from marlin_sdk.weights.integrity import verified_sha256

__all__ = ["build_network", "load_network", "make_network"]

Network = Encoder | MaskedAutoencoder


def load_network(
    model: str | Path,
    *,
    decoder: bool,
    revision: str | None,
    token: str | bool | None,
    cache_dir: str | Path | None,
    local_files_only: bool,
    config: ModelConfig | Mapping[str, Any] | None,
) -> tuple[Network, dict[str, Any]]:
    """Build a network and load its weights strictly. Arguments and errors are those of `Marlin.from_pretrained`.

    Returns:
        The frozen network on the CPU, and the identity of its weights.
    """
    if not isinstance(model, str | Path):
        raise ConfigError(
            f"model is a {type(model).__name__}; expected a published name ({', '.join(PRESETS)}), a Hub repo "
            "'owner/name', or a path"
        )
    files = resolve_model(
        model,
        decoder=decoder,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )
    explicit = None if config is None else _size(config, "config", "")
    with ThreadPoolExecutor(1) as pool:  # the checksum takes as long as all the rest: it runs on another core
        described = pool.submit(_verify, files)
        size, state = read_checkpoint(files.weights, config=explicit, config_path=files.config, preset=files.preset)
        if decoder and not size.has_decoder:
            raise WeightsError(f"{files.weights} holds no decoder; pass a .full.pt or .ckpt, or omit decoder=True")
        size = size if decoder else size.without_decoder()
        with torch.device("meta"):
            network = build_network(size, decoder=decoder)
        load_weights(network, state, source=str(files.weights))
    identity = {**described.result(), "config": size.to_dict()}
    return network.requires_grad_(requires_grad=False), identity


def _verify(files: ModelFiles) -> dict[str, Any]:
    """The identity of weights whose files are what was published."""
    if files.config is not None:
        verified_sha256(files.config)
    return describe_weights(files.name, files.commit, verified_sha256(files.weights))


def make_network(
    model: str | ModelConfig | Mapping[str, Any], *, seed: int, decoder: bool
) -> tuple[Network, dict[str, Any]]:
    """Build a network with random weights. Arguments and errors are those of `Marlin.untrained`.

    Returns:
        The frozen network on the CPU, and the identity of its weights.
    """
    if isinstance(model, str) and (written := Path(model) / "config.json").is_file():
        model = read_config(written)  # the same size as a run, or a checkpoint of the Hub
    size = preset(model) if isinstance(model, str) else _size(model, "model", f"a name ({', '.join(PRESETS)}), ")
    size = size if decoder else size.without_decoder()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(size, decoder=decoder)
    identity = describe_untrained(model if isinstance(model, str) else "custom", seed, size)
    return network.requires_grad_(requires_grad=False), identity


def _size(value: object, name: str, alternatives: str) -> ModelConfig:
    if isinstance(value, Mapping):
        return ModelConfig.from_dict(value)
    if not isinstance(value, ModelConfig):
        raise ConfigError(
            f"{name} is a {type(value).__name__}; expected {alternatives}a ModelConfig or a mapping of its values"
        )
    return value


def build_network(size: ModelConfig, *, decoder: bool) -> Network:
    """A network with random weights, or without any under `torch.device("meta")`.

    Args:
        size: of the model.
        decoder: build the decoder too.
    """
    return MaskedAutoencoder(size) if decoder else Encoder(size)
