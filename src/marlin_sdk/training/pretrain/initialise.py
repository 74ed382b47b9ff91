"""Initial weights of pretraining: from MARLIN, or from VideoMAE in either of its formats."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from marlin_sdk.errors import WeightsError
from marlin_sdk.model import MaskedAutoencoder
from marlin_sdk.weights.checkpoints import from_published_keys, load_weights
from marlin_sdk.weights.hub import resolve_model
from marlin_sdk.weights.tensors import read_tensors

__all__ = ["Initialisation", "initialise_from", "read_initial_weights"]

# VideoMAE normalises pixels by ImageNet's mean and standard deviation (datasets.py and both papers); MARLIN's are in
# [0, 1].
_MEAN = torch.tensor([0.485, 0.456, 0.406])
_STD = torch.tensor([0.229, 0.224, 0.225])

_OFFICIAL = (
    (r"^(patch_embed|blocks|norm|fc_norm)\.", r"encoder.\1."),  # a fine-tuned model has no decoder, and no prefix
    (r"^encoder\.patch_embed\.proj\.", "encoder.patch_embedding.projection."),
    (r"^encoder\.fc_norm\.", "encoder.norm."),
    (r"\.mlp\.fc1\.", ".mlp.up."),
    (r"\.mlp\.fc2\.", ".mlp.down."),
    (r"^encoder_to_decoder\.", "decoder.embed."),
    (r"^mask_token$", "decoder.mask_token"),
)
_HUGGING_FACE = (
    (r"^videomae\.", ""),
    (r"^embeddings\.patch_embeddings\.projection\.", "encoder.patch_embedding.projection."),
    (r"^encoder\.layer\.(\d+)\.", r"encoder.blocks.\1."),
    (r"^decoder\.decoder_layers\.(\d+)\.", r"decoder.blocks.\1."),
    (r"\.attention\.attention\.(q|v)_bias$", r".attn.\1_bias"),
    (r"\.attention\.attention\.query\.bias$", ".attn.q_bias"),
    (r"\.attention\.attention\.value\.bias$", ".attn.v_bias"),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.up."),
    (r"\.output\.dense\.", ".mlp.down."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"^(layernorm|fc_norm)\.", "encoder.norm."),
    (r"^encoder_to_decoder\.", "decoder.embed."),
    (r"^mask_token$", "decoder.mask_token"),
)
_LEFT_OUT = {
    r"^(encoder\.)?head\.|^classifier\.": "the head of another task",
    r"pos(ition)?_embed(dings?)?$": "positions are this model's own table",
    r"\.attn\.key\.bias$": "a key bias cancels in the softmax",
}
_OPTIONAL = ("encoder.norm.weight", "encoder.norm.bias")  # Hugging Face omits it if it pools by the mean


@dataclass
class Initialisation:
    """How each tensor was initialised.

    Attributes:
        source: the file.
        kind: "MARLIN", "VideoMAE" or "VideoMAE (Hugging Face)".
        taken: our keys, each with the names in the file that it comes from, and with conversions.
        left_out: names in the file, each with the reason why it is not used.
        fresh: our keys that the file does not hold; they keep their random values, positions their table.
        state: the tensors taken, under our keys.
    """

    source: str
    kind: str
    taken: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)
    state: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        """One line, for the log."""
        counts = f"{len(self.taken)} tensors taken, {len(self.left_out)} left out, {len(self.fresh)} fresh"
        return f"initialised from {self.source} ({self.kind}): {counts}"

    def lines(self) -> list[str]:
        """A line for every tensor, for the log of a run."""
        return [
            str(self),
            *(f"taken     {key} <- {origin}" for key, origin in self.taken.items()),
            *(f"left out  {name}: {reason}" for name, reason in self.left_out.items()),
            *(f"fresh     {key}" for key in self.fresh),
        ]


def initialise_from(network: MaskedAutoencoder, source: str | Path, *, decoder: bool = True) -> Initialisation:
    """Load weights into an autoencoder, in place.

    Args:
        network: of the size of the checkpoint. Its position tables are retained, unless the file is a MARLIN one.
        source: as in `Marlin.from_pretrained`, or a VideoMAE checkpoint.
        decoder: also load the decoder, if the file holds one.
    Returns:
        How each tensor was initialised.
    Raises:
        WeightsError: the file holds no encoder of these families, or one of another size; every difference is listed.
    """
    found = read_initial_weights(source)
    own = network.state_dict()
    if not decoder:
        dropped = [key for key in found.state if key.startswith("decoder.")]
        for key in dropped:
            found.left_out[found.taken.pop(key)] = "the decoder is not requested"
            del found.state[key]
    has_decoder = any(key.startswith("decoder.") for key in found.state)
    fresh = set() if found.kind == "MARLIN" else {"encoder.positions", "decoder.positions", *_OPTIONAL}
    found.fresh = [
        key
        for key in own
        if key not in found.state and (key in fresh or (key.startswith("decoder.") and not has_decoder))
    ]
    load_weights(network, {**found.state, **{key: own[key] for key in found.fresh}}, source=found.source)
    return found


def read_initial_weights(source: str | Path) -> Initialisation:
    """Read a checkpoint of MARLIN or VideoMAE, and convert its tensors to this package's keys.

    Raises:
        WeightsError: it holds no encoder of these families.
        DownloadError: it cannot be downloaded.
    """
    path = resolve_model(source).weights
    tensors = read_tensors(path, under=("state_dict", "model", "module"))[0]
    if any("attention.attention." in name for name in tensors):
        return _from_hugging_face(tensors, str(source))
    if any(name.endswith("patch_embed.proj.weight") for name in tensors):
        return _from_official(tensors, str(source))
    found = Initialisation(str(source), "MARLIN", state=from_published_keys(tensors, path))
    _record_published_names(found, tensors)
    return found


def _record_published_names(found: Initialisation, tensors: Mapping[str, Tensor]) -> None:
    """Record the published name of each tensor of a MARLIN file."""
    by_identity = {id(tensor): name for name, tensor in tensors.items()}
    found.taken = {key: by_identity[id(tensor)] for key, tensor in found.state.items()}
    used = set(found.taken.values())
    found.left_out = {name: "the discriminator is initialised at random" for name in tensors if name not in used}


def _from_official(tensors: Mapping[str, Tensor], source: str) -> Initialisation:
    found = Initialisation(source, "VideoMAE")
    _rename(found, tensors, _OFFICIAL)
    _to_marlin(found)
    return found


def _from_hugging_face(tensors: Mapping[str, Tensor], source: str) -> Initialisation:
    found = Initialisation(source, "VideoMAE (Hugging Face)")
    _rename(found, tensors, _HUGGING_FACE)
    for key in [key for key in found.state if key.endswith(".attn.query.weight")]:
        stem = key.removesuffix("query.weight")
        parts = [f"{stem}{name}.weight" for name in ("query", "key", "value")]
        if missing := [part for part in parts if part not in found.state]:
            raise WeightsError(f"{source} is missing {', '.join(missing)}, which attention needs")
        found.state[f"{stem}qkv.weight"] = torch.cat([found.state.pop(part) for part in parts])
        found.taken[f"{stem}qkv.weight"] = " + ".join(found.taken.pop(part) for part in parts)
    _to_marlin(found)
    return found


def _rename(found: Initialisation, tensors: Mapping[str, Tensor], rules: tuple[tuple[str, str], ...]) -> None:
    for name, tensor in tensors.items():
        key = name
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        reason = next((why for pattern, why in _LEFT_OUT.items() if re.search(pattern, key)), None)
        if reason:
            found.left_out[name] = reason
            continue
        if key in found.state:
            raise WeightsError(f"{found.source} holds {key} twice: {found.taken[key]} and {name}")
        found.state[key], found.taken[key] = tensor, name


def _to_marlin(found: Initialisation) -> None:
    """Fold ImageNet's normalisation into the patch embedding, and reorder the head's rows to MARLIN's pixel order.

    With W' = W / std and b' = b - sum(W mean / std), the encoder computes from pixels in [0, 1] the same as VideoMAE's
    from normalised ones. The pixel order of VideoMAE's head is (pt, ph, pw, c), that of MARLIN's (c, pt, ph, pw).
    """
    weight_key, bias_key = (f"encoder.patch_embedding.projection.{name}" for name in ("weight", "bias"))
    weight, bias = found.state.get(weight_key), found.state.get(bias_key)
    if weight is None or bias is None or weight.ndim != 5 or weight.shape[1] != 3:
        raise WeightsError(f"{found.source} holds no patch embedding of RGB tubelets")
    scaled = weight.double() / _STD.double()[None, :, None, None, None]
    shift = (scaled * _MEAN.double()[None, :, None, None, None]).flatten(1).sum(1)
    found.state[weight_key], found.state[bias_key] = scaled.float(), (bias.double() - shift).float()
    for key in (weight_key, bias_key):
        found.taken[key] += " (mean and standard deviation of ImageNet folded in)"
    for name in ("weight", "bias"):
        key = f"decoder.head.{name}"
        if key in found.state:
            head = found.state[key]
            found.state[key] = head.reshape(-1, 3, *head.shape[1:]).transpose(0, 1).flatten(0, 1)
            found.taken[key] += " (rows reordered from (pt, ph, pw, c) to (c, pt, ph, pw))"
