"""The encoder, against a plain implementation."""

from __future__ import annotations

import math

import pytest
import torch
from tests.making import TINY
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ShapeError
from marlin_sdk.model import Encoder


def shaken(module: nn.Module) -> nn.Module:
    """Weights, biases and norms far from their initialisation, in float64."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in module.double().parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    return module.eval().requires_grad_(requires_grad=False)


def plain_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    variance = x.var(dim=-1, unbiased=False, keepdim=True)
    return (x - x.mean(dim=-1, keepdim=True)) / (variance + 1e-5).sqrt() * weight + bias


def plain_block(x: Tensor, state: dict[str, Tensor], prefix: str, num_heads: int) -> Tensor:
    """One pre-norm layer: softmax attention without a key bias, then an MLP with the GELU of the error function."""
    part = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    dim, width = x.shape[-1], x.shape[-1] // num_heads
    normed = plain_norm(x, part["norm1.weight"], part["norm1.bias"])
    query, key, value = (normed @ weight.T for weight in part["attn.qkv.weight"].view(3, dim, dim))
    query, value = query + part["attn.q_bias"], value + part["attn.v_bias"]
    heads = []
    for head in range(num_heads):
        at = slice(head * width, (head + 1) * width)
        weights = (query[..., at] @ key[..., at].transpose(1, 2) / math.sqrt(width)).softmax(dim=-1)
        heads.append(weights @ value[..., at])
    x = x + torch.cat(heads, dim=-1) @ part["attn.proj.weight"].T + part["attn.proj.bias"]
    hidden = plain_norm(x, part["norm2.weight"], part["norm2.bias"]) @ part["mlp.up.weight"].T + part["mlp.up.bias"]
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return x + hidden @ part["mlp.down.weight"].T + part["mlp.down.bias"]


def plain_embed(clips: Tensor, state: dict[str, Tensor]) -> Tensor:
    weight = state["patch_embedding.projection.weight"]
    grid = F.conv3d(clips, weight, state["patch_embedding.projection.bias"], stride=weight.shape[2:])
    return grid.flatten(2).transpose(1, 2) + state["positions"]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    network = shaken(Encoder(TINY))
    assert isinstance(network, Encoder)
    return network


@pytest.fixture(scope="module")
def clips() -> Tensor:
    return torch.rand(2, *TINY.clip_shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.fixture(scope="module")
def layers(encoder: Encoder, clips: Tensor) -> list[Tensor]:
    """The tokens after each block, computed plainly."""
    state = encoder.state_dict()
    x, found = plain_embed(clips, state), []
    for index in range(TINY.encoder_depth):
        x = plain_block(x, state, f"blocks.{index}.", TINY.encoder_num_heads)
        found.append(x)
    return found


def _normed(encoder: Encoder, x: Tensor) -> Tensor:
    return plain_norm(x, encoder.norm.weight, encoder.norm.bias)


def test_pooled_feature_is_the_norm_of_the_mean(encoder: Encoder, clips: Tensor, layers: list[Tensor]) -> None:
    expected = _normed(encoder, layers[-1].mean(dim=1))
    assert torch.allclose(encoder(clips), expected, rtol=0, atol=1e-9)
    assert not torch.allclose(expected, _normed(encoder, layers[-1]).mean(dim=1), atol=1e-3)


def test_token_features_are_normed_individually(encoder: Encoder, clips: Tensor, layers: list[Tensor]) -> None:
    assert torch.allclose(encoder(clips, pool="none"), _normed(encoder, layers[-1]), rtol=0, atol=1e-9)


def test_tokens_come_in_time_row_column_order(encoder: Encoder, clips: Tensor) -> None:
    x = clips.clone()
    x[0, :, 6:8, 16:32, 0:16] += 1  # the tubelet at time 3, row 1, column 0
    changed = (encoder.embed(x) - encoder.embed(clips)).abs().amax(dim=2).nonzero().tolist()
    assert changed == [[0, 3 * 4 + 1 * 2 + 0]]


def test_other_patch_sizes_embed_as_the_convolution_does() -> None:
    heads = {"encoder_embed_dim": 12, "encoder_depth": 1, "encoder_num_heads": 3}
    config = ModelConfig(**heads, img_size=24, patch_size=8, n_frames=9, tubelet_size=3)
    network = shaken(Encoder(config))
    assert isinstance(network, Encoder)
    x = torch.rand(2, *config.clip_shape, dtype=torch.float64)
    assert torch.allclose(network.embed(x), plain_embed(x, network.state_dict()), rtol=0, atol=1e-12)


def test_intermediate_layers_come_in_the_requested_order(encoder: Encoder, clips: Tensor, layers: list[Tensor]) -> None:
    pooled = encoder.intermediate(clips, [-1, 0, 1])
    expected = [_normed(encoder, layers[index].mean(dim=1)) for index in (1, 0, 1)]
    assert torch.allclose(pooled, torch.stack(expected, dim=1), rtol=0, atol=1e-9)
    tokens = encoder.intermediate(clips, [0], pool="none")
    assert torch.allclose(tokens, _normed(encoder, layers[0])[:, None], rtol=0, atol=1e-9)
    assert torch.equal(encoder.intermediate(clips, [-1])[:, 0], encoder(clips))


def test_visible_tokens_are_encoded_alone(encoder: Encoder, clips: Tensor) -> None:
    mask = torch.zeros(2, TINY.num_tokens, dtype=torch.bool)
    mask[0, [0, 5, 9]] = mask[1, [3, 4, 31]] = True
    state = encoder.state_dict()
    embedded = plain_embed(clips, state)
    x = torch.stack([embedded[0, [0, 5, 9]], embedded[1, [3, 4, 31]]])
    for index in range(TINY.encoder_depth):
        x = plain_block(x, state, f"blocks.{index}.", TINY.encoder_num_heads)
    assert torch.allclose(encoder.encode_visible(clips, mask), _normed(encoder, x), rtol=0, atol=1e-9)
    everything = torch.ones_like(mask)
    assert torch.allclose(encoder.encode_visible(clips, everything), encoder(clips, pool="none"), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 3, 32, 32, 16),  # time last: as many pixels, another picture
        (1, 16, 3, 32, 32),
        (1, 3, 16, 16, 64),
        (1, 3, 32, 32, 32),
        (3, 16, 32, 32),
        (1, 1, 16, 32, 32),
    ],
)
def test_clip_that_does_not_fit_is_refused_with_both_shapes(encoder: Encoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError) as caught:
        encoder(torch.zeros(shape, dtype=torch.float64))
    assert "(B, 3, 16, 32, 32)" in str(caught.value)
    assert str(shape) in str(caught.value)


def test_gradients_reach_every_parameter_and_the_positions_are_none(clips: Tensor) -> None:
    network = Encoder(TINY).double().requires_grad_()
    network(clips).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
    assert network.state_dict().keys() - dict(network.named_parameters()).keys() == {"positions"}


def test_keys_have_no_bias() -> None:
    names = {name.removeprefix("blocks.0.attn.") for name, _ in Encoder(TINY).named_parameters() if ".0.attn." in name}
    assert names == {"q_bias", "v_bias", "qkv.weight", "proj.weight", "proj.bias"}


def test_exported_graph_gives_the_same_numbers(encoder: Encoder, clips: Tensor) -> None:
    program = torch.export.export(encoder, (clips,))
    assert torch.allclose(program.module()(clips), encoder(clips), rtol=0, atol=1e-12)
