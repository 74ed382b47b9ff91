"""Decoder and autoencoder, against a plain implementation."""

from __future__ import annotations

import pytest
import torch
from tests.making import TINY
from torch import Tensor

from marlin_sdk.errors import ConfigError, ShapeError
from marlin_sdk.model import Decoder, MaskedAutoencoder


@pytest.fixture(scope="module")
def network() -> MaskedAutoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        autoencoder = MaskedAutoencoder(TINY).double().eval()
    return autoencoder.requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def clips() -> Tensor:
    return torch.rand(2, *TINY.clip_shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def _mask(*rows: list[int]) -> Tensor:
    mask = torch.zeros(len(rows), TINY.num_tokens, dtype=torch.bool)
    for row, columns in enumerate(rows):
        mask[row, columns] = True
    return mask


def test_masked_tubelets_are_reconstructed_in_token_order(network: MaskedAutoencoder, clips: Tensor) -> None:
    """Visible tokens with their positions, then mask tokens with theirs; norm and head on the tail."""
    rows = [[1, 8, 30], [0, 2, 31]]
    decoder = network.decoder
    visible = network.encoder.encode_visible(clips, _mask(*rows))
    for row, columns in enumerate(rows):
        hidden = [token for token in range(TINY.num_tokens) if token not in columns]
        positions = decoder.positions[0]
        seen = visible[row] @ decoder.embed.weight.T + positions[columns]
        x = torch.cat([seen, decoder.mask_token[0] + positions[hidden]])[None]
        for block in decoder.blocks:
            x = block(x)
        expected = decoder.head(decoder.norm(x[0]))
        assert torch.allclose(network(clips, _mask(*rows))[row], expected[len(columns) :], rtol=0, atol=1e-12)
        assert torch.allclose(network(clips, _mask(*rows), with_visible=True)[row], expected, rtol=0, atol=1e-12)


def test_masked_pixels_have_no_influence(network: MaskedAutoencoder, clips: Tensor) -> None:
    mask = _mask([0], [0])
    changed = clips.clone()
    changed[:, :, 2:] = 0  # every tubelet but those of time 0
    changed[:, :, :2, 16:] = 0
    changed[:, :, :2, :16, 16:] = 0
    assert torch.equal(network(changed, mask), network(clips, mask))


def test_shape_of_the_reconstruction(network: MaskedAutoencoder, clips: Tensor) -> None:
    assert network(clips, _mask([0, 1, 2], [4, 5, 6])).shape == (2, TINY.num_tokens - 3, 1536)


def test_mask_of_other_shape_or_count_is_refused(network: MaskedAutoencoder, clips: Tensor) -> None:
    mask = _mask([0, 1], [2, 3])
    visible = network.encoder.encode_visible(clips, mask)
    with pytest.raises(ShapeError, match="the same number of visible tokens"):
        network(clips, _mask([0, 1, 2], [3]))
    with pytest.raises(ShapeError, match=r"torch\.int64"):
        network(clips, mask.long())
    with pytest.raises(ShapeError, match=r"has 1 visible tokens a clip; got 2"):
        network.decoder(visible, _mask([0], [1]))
    with pytest.raises(ShapeError, match=r"has 2 visible tokens a clip; got 1"):
        network.decoder(visible[:, :1], mask)


def test_config_without_decoder_is_refused() -> None:
    for kind in (Decoder, MaskedAutoencoder):
        with pytest.raises(ConfigError, match="no decoder"):
            kind(TINY.without_decoder())


def test_fresh_weights_are_xavier_and_biases_zero() -> None:
    state = MaskedAutoencoder(TINY).state_dict()
    for name, tensor in state.items():
        if name.endswith("bias"):
            assert not tensor.any(), name
        elif "norm" in name:
            assert (tensor == 1).all(), name
        elif name.endswith("weight"):
            fan_out, fan_in = tensor.flatten(1).shape
            bound = (6 / (fan_in + fan_out)) ** 0.5
            assert 0.8 * bound < tensor.abs().max() <= bound, name
    assert 0 < state["decoder.mask_token"].abs().max() < 0.1
