"""Where the sound of a window lies, and that it is embedded alike wherever it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.making import TINY

from marlin_sdk.errors import ConfigError
from marlin_sdk.model import Encoder
from marlin_sdk.sync.mel import STEPS_PER_S
from marlin_sdk.sync.network import SyncConfig, SyncNetwork, distances, sample_steps, step_places

MODEL = TINY.without_decoder()
CONFIG = SyncConfig(model=MODEL, dim=4, channels=8, depth=2, looks=2)


@pytest.fixture(scope="module")
def network() -> SyncNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SyncNetwork(Encoder(MODEL), CONFIG).eval().requires_grad_(requires_grad=False)


@given(start_s=st.floats(0, 1e4), sound_start_s=st.floats(0, 10))
def test_places_are_the_middles_of_the_time_tokens(start_s: float, sound_start_s: float) -> None:
    places = step_places(torch.tensor([start_s], dtype=torch.float64), sound_start_s, MODEL)[0]
    times_s = places / STEPS_PER_S + sound_start_s
    assert times_s.tolist() == pytest.approx([start_s + (2 * token + 1) / 25 for token in range(8)], abs=1e-6)


def test_steps_are_interpolated_and_the_ends_hold() -> None:
    sound = torch.arange(10.0)[None, :, None]
    found = sample_steps(sound, torch.tensor([[[0.0, 2.25, 8.5], [9.0, -3.0, 20.0]]]))
    assert found.shape == (1, 2, 3, 1)
    assert found[0, ..., 0].tolist() == [[0.0, 2.25, 8.5], [9.0, 0.0, 9.0]]
    assert sample_steps(torch.ones(1, 1, 2), torch.zeros(1, 3)).shape == (1, 3, 2)


def test_sound_is_embedded_alike_in_a_long_and_a_short_file(network: SyncNetwork) -> None:
    heard = torch.randn(1, 200, 80, generator=torch.Generator().manual_seed(0))
    whole, part = network.embed_sound(heard), network.embed_sound(heard[:, 50:150])
    torch.testing.assert_close(whole[:, 70:130], part[:, 20:80])


def test_forward_gives_eight_values_of_each_window_and_of_its_sound(network: SyncNetwork) -> None:
    clips = torch.rand(2, 3, *MODEL.clip_shape)
    faces, sounds = network(clips, torch.rand(2, 100, 80), torch.rand(2, 31, 3, 8) * 99)
    assert faces.shape == (2, 3, 8, 4)
    assert sounds.shape == (2, 31, 3, 8, 4)
    torch.testing.assert_close(faces[1, 2], network.embed_faces(clips[1, 2][None])[0])


def test_distances_are_of_unit_vectors() -> None:
    faces = torch.tensor([[[3.0, 0.0], [0.0, 0.0]]])
    sounds = torch.tensor([[[0.1, 0.0], [0.0, 0.0]], [[0.0, 5.0], [0.0, 0.0]], [[-1.0, 0.0], [0.0, 0.0]]])
    np.testing.assert_allclose(distances(faces, sounds), [0, 2**0.5, 2], atol=1e-6)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="dim is 0"):
        SyncConfig(model=MODEL, dim=0)
    with pytest.raises(ConfigError, match="no decoder"):
        SyncConfig(model=TINY)
    assert SyncConfig.from_dict(CONFIG.to_dict()) == CONFIG
    with pytest.raises(ConfigError, match="keys"):
        SyncConfig.from_dict({**CONFIG.to_dict(), "more": 1})
