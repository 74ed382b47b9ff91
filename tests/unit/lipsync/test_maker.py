"""Windows and references over a whole track, and that cutting the sound changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.making import TINY, noise

from marlin_sdk.errors import ShapeError
from marlin_sdk.lipsync.files import LipsFacts
from marlin_sdk.lipsync.maker import LipMaker, reference_start, window_starts
from marlin_sdk.lipsync.network import LipsConfig, LipsNetwork, frame_places
from marlin_sdk.model import Encoder
from marlin_sdk.sync.mel import LogMel

MODEL = TINY.without_decoder()
CONFIG = LipsConfig(model=MODEL, size_px=16, width=16, sound_channels=8, sound_depth=2)
HEARD = LogMel(np.random.default_rng(0).standard_normal((1600, 80)).astype(np.float32), 0.1)


@pytest.fixture(scope="module")
def maker() -> LipMaker:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = LipsNetwork(Encoder(MODEL), CONFIG).eval().requires_grad_(requires_grad=False)
    return LipMaker(network, LipsFacts(), device="cpu")


@given(num_frames=st.integers(1, 400), length=st.integers(1, 20))
def test_windows_cover_every_frame(num_frames: int, length: int) -> None:
    starts = window_starts(num_frames, length)
    covered = {frame for start in starts for frame in range(start, start + length)}
    assert covered >= set(range(num_frames))
    assert starts == sorted(set(starts))
    assert len(starts) == max(1, -(-num_frames // length))


@given(num_frames=st.integers(1, 400), share=st.floats(0, 1))
def test_reference_is_within_the_track_and_shares_no_frame_if_it_can(num_frames: int, share: float) -> None:
    last = max(num_frames - 16, 0)
    start = round(share * last)
    found = reference_start(start, num_frames, 16)
    assert 0 <= found <= last
    if num_frames >= 48:
        assert 16 <= abs(found - start) <= 32


@pytest.mark.parametrize("num_frames", [1, 15, 16, 17, 150])
def test_every_frame_is_made_and_keeps_its_upper_half(maker: LipMaker, num_frames: int) -> None:
    crops = noise(num_frames, 16, 16)
    made = maker.make(crops, HEARD, start_s=0.3)
    assert made.shape == crops.shape
    assert made.dtype == np.uint8
    assert np.array_equal(made[:, :8], crops[:, :8])
    assert not np.array_equal(made[:, 8:], crops[:, 8:])


def test_last_of_many_windows_is_as_the_network_makes_it_with_the_whole_sound(maker: LipMaker) -> None:
    crops = noise(160, 16, 16)
    made = maker.make(crops, HEARD, start_s=0.5)[-16:]
    clips = torch.from_numpy(np.stack([crops[-16:], crops[112:128]])).permute(0, 4, 1, 2, 3).float()[:, None] / 255
    places = frame_places(torch.tensor([[0.5 + 144 / 25]], dtype=torch.float64), HEARD.start_s, 16).float()
    with torch.inference_mode():
        expected = maker._network(clips[:1], clips[1:], torch.from_numpy(HEARD.values)[None], places)
    pixels = (expected[0, 0].permute(1, 2, 3, 0) * 255).round().numpy()
    assert np.abs(made - pixels).max() <= 1


def test_beyond_the_sound_it_is_silent(maker: LipMaker) -> None:
    crops = noise(16, 16, 16)
    silence = LogMel(np.full((400, 80), -2.0, dtype=np.float32), 0.0)
    assert np.array_equal(maker.make(crops, HEARD, start_s=99.0), maker.make(crops, silence, start_s=1.0))


@pytest.mark.parametrize("shape", [(0, 16, 16, 3), (4, 32, 32, 3), (16, 16, 3)])
def test_faces_of_another_shape_are_refused(maker: LipMaker, shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"faces are uint8 \(T, 16, 16, 3\); got"):
        maker.make(np.zeros(shape, dtype=np.uint8), HEARD)
