"""What the network that makes lips looks at, and the published arithmetic of its channels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.making import TINY

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.lipsync.network import LipsConfig, LipsNetwork, first_made_row, frame_places
from marlin_sdk.model import Encoder
from marlin_sdk.sync.mel import STEPS_PER_S

MODEL = TINY.without_decoder()
CONFIG = LipsConfig(model=MODEL, size_px=16, width=16, sound_channels=8, sound_depth=1)


@pytest.fixture(scope="module")
def network() -> LipsNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LipsNetwork(Encoder(MODEL), CONFIG).eval().requires_grad_(requires_grad=False)


@pytest.fixture
def given_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "faces": torch.rand(2, 2, 3, 16, 16, 16, generator=generator),
        "references": torch.rand(2, 2, 3, 16, 16, 16, generator=generator),
        "log_mel": torch.randn(2, 120, 80, generator=generator),
        "places": torch.linspace(0, 110, 64).reshape(2, 2, 16),
    }


def test_published_sizes_have_774_channels_and_four_doublings_to_224() -> None:
    base = ModelConfig(encoder_embed_dim=768, encoder_depth=1, encoder_num_heads=12)
    with torch.device("meta"):
        network = LipsNetwork(Encoder(base), LipsConfig(model=base))
    assert network.config.widths == (512, 256, 128, 64)
    assert network.steps[0].up.in_channels == 774  # type: ignore[union-attr]
    assert network.sound.project.out_features == 384
    assert network.config.grid << len(network.steps) == 224


def test_upper_half_stays_and_the_lower_half_is_not_looked_at(
    network: LipsNetwork, given_batch: dict[str, torch.Tensor]
) -> None:
    made = network(**given_batch)
    first = first_made_row(16)
    assert torch.equal(made[..., :first, :], given_batch["faces"][..., :first, :])
    other = given_batch["faces"].clone()
    other[..., first:, :] = torch.rand_like(other[..., first:, :])
    assert torch.equal(network(**{**given_batch, "faces": other}), made)
    assert 0 <= made.min() <= made.max() <= 1


@pytest.mark.parametrize("name", ["references", "log_mel", "places"])
def test_reference_and_sound_change_the_lower_half(
    network: LipsNetwork, given_batch: dict[str, torch.Tensor], name: str
) -> None:
    made = network(**given_batch)
    changed = network(**{**given_batch, name: given_batch[name].flip(0)})
    assert (made - changed).abs().amax() > 1e-4


def test_windows_do_not_depend_on_each_other(network: LipsNetwork, given_batch: dict[str, torch.Tensor]) -> None:
    made = network(**given_batch)
    alone = network(
        *(given_batch[name][1:, 1:] if name != "log_mel" else given_batch[name][1:] for name in given_batch)
    )
    torch.testing.assert_close(made[1:, 1:], alone)


@given(start_s=st.floats(0, 1e4), sound_start_s=st.floats(0, 10))
def test_places_are_the_middles_of_the_frames(start_s: float, sound_start_s: float) -> None:
    places = frame_places(torch.tensor([start_s], dtype=torch.float64), sound_start_s, 16)[0]
    times_s = places / STEPS_PER_S + sound_start_s
    assert times_s.tolist() == pytest.approx([start_s + (frame + 0.5) / 25 for frame in range(16)], abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size_px": 24}, r"size_px is 24; with this encoder, faces of 4, 8, 16"),
        ({"width": 24}, r"width is 24; expected a multiple of 16"),
        ({"sound_depth": 0}, r"sound_depth is 0"),
        ({"model": TINY}, r"has no decoder"),
    ],
)
def test_sizes_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LipsConfig(**{"model": MODEL, "size_px": 16, **settings})


def test_config_is_read_as_it_is_written() -> None:
    assert LipsConfig.from_dict(CONFIG.to_dict()) == CONFIG
    with pytest.raises(ConfigError, match="has the keys"):
        LipsConfig.from_dict({**CONFIG.to_dict(), "more": 1})
