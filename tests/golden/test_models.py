"""Numbers of the reference implementation (marlin-pytorch 0.3.4), on weights that a recipe makes."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.making import recipe_weights

from marlin_sdk import Marlin
from marlin_sdk.config import PRESETS
from marlin_sdk.model import MaskedAutoencoder
from marlin_sdk.model.positions import sinusoid_positions
from marlin_sdk.weights.checkpoints import from_published_keys, load_weights, read_checkpoint

pytestmark = pytest.mark.shared

# Millions, from the paper's table: (encoder, encoder and decoder).
PARAMETERS = {
    "marlin_vit_small_ytf": (22.48, 24.93),
    "marlin_vit_base_ytf": (87.43, 96.02),
    "marlin_vit_large_ytf": (305.47, 345.41),
}
TINY_FILES = ["marlin_tiny.encoder.pt", "marlin_tiny.full.pt", "marlin_tiny.ckpt", "hub", "hub/model.safetensors"]


def _difference(got: torch.Tensor, expected: NDArray[np.float32]) -> float:
    assert got.shape == expected.shape
    return float(np.abs(got.numpy() - expected).max())


def _count(module: torch.nn.Module) -> float:
    count: int = sum(tensor.numel() for tensor in module.state_dict().values())  # of the positions too
    return round(count / 1e6, 2)


@pytest.fixture
def _freed() -> Iterator[None]:
    """ViT-L and its weights are 2.8 GB; the next test gets them back."""
    yield
    gc.collect()


@pytest.mark.usefixtures("_freed")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * name.startswith("marlin_vit_large")) for name in PRESETS]
)
def test_published_sizes_give_the_numbers_of_the_reference(shared: Path, name: str) -> None:
    config = PRESETS[name]
    shapes = json.loads((shared / "golden" / f"{name}.keys.json").read_text())
    tables = {
        "encoder.pos_embedding.emb": sinusoid_positions(config.num_tokens, config.encoder_embed_dim),
        "decoder.pos_embedding.emb": sinusoid_positions(config.num_tokens, config.decoder_embed_dim or 0),
    }
    with torch.device("meta"):
        network = MaskedAutoencoder(config)
    load_weights(network, from_published_keys(recipe_weights(shapes, tables), name), source=name)
    network.eval()
    assert (_count(network.encoder), _count(network)) == PARAMETERS[name]

    clip = torch.from_numpy(np.random.default_rng(0).random((1, 3, 16, 224, 224), dtype=np.float32))
    mask = torch.zeros(1, 1568, dtype=torch.bool)
    mask[0, np.random.default_rng(1).permutation(1568)[:156]] = True
    last: list[torch.Tensor] = []
    network.encoder.blocks[-1].register_forward_hook(lambda _module, _args, out: last.append(out))
    with torch.no_grad():
        pooled = network.encoder(clip)
        tokens = network.encoder.norm(last[0])  # what pool="none" gives; a second pass takes ViT-L ten seconds
        rebuilt = network(clip, mask)
    with np.load(shared / "golden" / f"{name}.expected.npz") as expected:
        assert _difference(pooled, expected["pooled"]) < 2e-4
        assert _difference(tokens[:, ::97], expected["tokens_every_97"]) < 2e-4
        assert _difference(rebuilt[:, ::97, ::16], expected["reconstruction_every_97"]) < 2e-4
        assert tokens.abs().mean().item() == pytest.approx(expected["tokens_mean_abs"], rel=1e-5)
        assert rebuilt.abs().mean().item() == pytest.approx(expected["reconstruction_mean_abs"], rel=1e-5)


def _tiny(shared: Path, filename: str, **settings: Any) -> Marlin:
    """The tiny model from one of its files; a bare state dict needs to be told that its heads are 16 wide."""
    path = shared / "golden" / "tiny" / filename
    config = json.loads((shared / "golden" / "tiny" / "hub" / "config.json").read_text())
    return Marlin.from_pretrained(
        path, config=config if path.suffix == ".pt" else None, device="cpu", detector="lbp", **settings
    )


@pytest.mark.parametrize("filename", TINY_FILES)
def test_every_format_gives_the_numbers_of_the_reference(shared: Path, filename: str) -> None:
    model = _tiny(shared, filename)
    with np.load(shared / "golden" / "tiny" / "expected.npz") as expected:
        assert _difference(model.extract_clip(expected["x"]), expected["pooled"]) < 1e-5
        assert _difference(model.extract_clip(expected["x"], keep_seq=True), expected["tokens"]) < 1e-5
        visible = model.encoder.encode_visible(torch.from_numpy(expected["x"]), torch.from_numpy(expected["mask"]))
        assert _difference(visible, expected["encoded_visible"]) < 1e-5


@pytest.mark.parametrize("filename", ["marlin_tiny.full.pt", "marlin_tiny.ckpt"])
def test_decoder_gives_the_numbers_of_the_reference(shared: Path, filename: str) -> None:
    model = _tiny(shared, filename, decoder=True)
    assert model.decoder is not None
    with np.load(shared / "golden" / "tiny" / "expected.npz") as expected:
        clips, mask = torch.from_numpy(expected["x"]), torch.from_numpy(expected["mask"])
        rebuilt = model.decoder(model.encoder.encode_visible(clips, mask), mask)
        assert _difference(rebuilt, expected["reconstruction"]) < 1e-5


def test_every_format_holds_the_same_weights(shared: Path) -> None:
    states = [_tiny(shared, filename).encoder.state_dict() for filename in TINY_FILES]
    assert len(states[0]) == 31
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(torch.equal(state[key], states[0][key]) for key in state)


def test_own_position_table_is_that_of_the_reference(shared: Path) -> None:
    config, state = read_checkpoint(shared / "golden" / "tiny" / "marlin_tiny.ckpt")
    assert torch.equal(state["encoder.positions"], sinusoid_positions(config.num_tokens, 32))
    assert torch.equal(state["decoder.positions"], sinusoid_positions(config.num_tokens, 16))
