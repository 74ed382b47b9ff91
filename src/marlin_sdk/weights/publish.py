"""Write weights as a Hub-ready folder: config.json, model.safetensors, a model card, checksums."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from marlin_sdk.atomic import atomic_path
from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.weights.card import ModelCard
from marlin_sdk.weights.checkpoints import load_weights, to_published_keys
from marlin_sdk.weights.hub import MODEL_FILES, REFERENCE_FILES
from marlin_sdk.weights.integrity import CHECKSUMS, write_checksums
from marlin_sdk.weights.loading import build_network

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["save_folder", "weights_sha256", "write_model"]

# The authors' class, in their repo: transformers loads it from there, if its user trusts it (trust_remote_code=True).
_CODE = "ControlNet/marlin_vit_base_ytf"
_CLASS = {
    "architectures": ["MarlinModel"],
    "auto_map": {"AutoConfig": f"{_CODE}--config.MarlinConfig", "AutoModel": f"{_CODE}--marlin.MarlinModel"},
}
_METADATA = {"format": "pt"}


def write_model(folder: Path, state: Mapping[str, Tensor], card: ModelCard, *, reference: bool = False) -> None:
    """Write the files of a model, each atomically, into a folder that may hold others.

    Args:
        folder: created if it does not exist.
        state: under this package's keys: `encoder.*` and, of a size with a decoder, `decoder.*`.
        card: the README, with the model's size.
        reference: write the files of marlin-pytorch too, which hold the weights once more.
    Raises:
        OSError: a file cannot be written.
    """
    from safetensors.torch import save_file

    published = _published(state)
    dtype = str(next(iter(published.values())).dtype).removeprefix("torch.")
    config = {**_CLASS, **card.size.to_hub(), "torch_dtype": dtype}
    (folder / CHECKSUMS).unlink(missing_ok=True)  # of an earlier model: it must not accuse the files of this one
    with atomic_path(folder / "model.safetensors") as part:
        save_file(published, part, metadata=_METADATA)
    with atomic_path(folder / "config.json") as part:
        part.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    with atomic_path(folder / "README.md") as part:
        part.write_text(card.text(), encoding="utf-8")
    written = ["config.json", "model.safetensors"]
    written += _write_reference(folder, published, card.size) if reference else []
    write_checksums(folder, [folder / name for name in written])


def _write_reference(folder: Path, published: Mapping[str, Tensor], size: ModelConfig) -> list[str]:
    """marlin-pytorch 0.3.4: `Marlin.from_file(name, path)` takes a flat state dict; a size that it does not know is
    first registered from a YAML file, of which JSON is a part."""
    weights = "marlin.full.pt" if size.has_decoder else "marlin.encoder.pt"
    with atomic_path(folder / weights) as part:
        torch.save({key.removeprefix("marlin."): tensor for key, tensor in published.items()}, part)
    values = size.to_hub()
    parts = {
        name: {field: values.get(f"{name}_{field}") for field in ("embed_dim", "depth", "num_heads")}
        for name in ("encoder", "decoder")
    }
    registered = {
        "clip_frames": size.n_frames,
        **{key: value for key, value in values.items() if not key.startswith(("encoder_", "decoder_"))},
        **parts,
    }
    with atomic_path(folder / "marlin.yaml") as part:
        part.write_text(json.dumps(registered, indent=2) + "\n", encoding="utf-8")
    return [weights, "marlin.yaml"]


def save_folder(
    folder: Path, state: Mapping[str, Tensor], card: ModelCard, *, reference: bool = True, overwrite: bool = False
) -> None:
    """Write a model as a folder that appears whole, by a rename.

    A reader that has opened one file of a model that is replaced meanwhile may find the next one changed: of another
    model of the same size it still gets one or the other, of another size an error.

    Args:
        folder: where; its parents are created.
        state: as in `write_model`.
        card: as in `write_model`.
        reference: as in `write_model`.
        overwrite: replace the model in a folder that is not empty; its other files stay.
    Raises:
        ConfigError: the folder is not empty, or cannot be written.
        WeightsError: the tensors are not those of a model of this size, or not finite.
    """
    from safetensors import SafetensorError

    with torch.device("meta"):
        network = build_network(card.size, decoder=card.size.has_decoder)
    load_weights(network, state, source="the model in memory")
    folder = folder.expanduser().resolve()
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; name a folder")
    if not overwrite and folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty; choose another folder, or replace the model in it by overwrite=True")
    part = folder.with_name(f".{folder.name[:32]}.{secrets.token_hex(8)}.part")
    try:
        part.mkdir(parents=True)
        write_model(part, state, card, reference=reference)
        _replace(folder, part)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # torch and safetensors report a full disk in their own way
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"{folder} cannot be written: {reason}; free some space, or choose another folder") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _replace(folder: Path, part: Path) -> None:
    """Put a finished folder in the place of another one, and keep the other's own files."""
    if not folder.exists():
        part.rename(folder)
        return
    old = part.with_name(f"{part.name}.old")
    part.chmod(folder.stat().st_mode)
    folder.rename(old)
    part.rename(folder)
    for path in old.iterdir():
        if path.name not in (*MODEL_FILES, *REFERENCE_FILES, CHECKSUMS):
            path.rename(folder / path.name)
    shutil.rmtree(old)


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, of the model.safetensors that `write_model` would write.

    Args:
        state: as in `write_model`.
    """
    from safetensors.torch import save

    return hashlib.sha256(save(_published(state), metadata=_METADATA)).hexdigest()


def _published(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Tensors on the CPU under the keys of the Hub; none shares its memory with another, which safetensors refuses."""
    found: dict[str, Tensor] = {}
    seen: set[int] = set()
    for key, tensor in to_published_keys(state).items():
        own = tensor.detach().cpu().contiguous()
        found[f"marlin.{key}"] = own.clone() if own.data_ptr() in seen else own
        seen.add(own.data_ptr())
    return found
