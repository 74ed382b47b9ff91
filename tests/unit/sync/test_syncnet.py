"""SyncNet: its input, its architecture by the shapes of its weights, and the measures by their definition."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.sync.talking import mouth_frames, noise_sound, write_talk

from marlin_sdk.errors import WeightsError
from marlin_sdk.sync.syncnet.measure import lse, lse_of_video
from marlin_sdk.sync.syncnet.mfcc import cepstra
from marlin_sdk.sync.syncnet.network import SyncNet, load_syncnet

# python_speech_features 0.6, mfcc(x, 16000), of the sound below in 16 bits: rows 0, 17 and the last of 36.
CEPSTRA = {
    0: [19.83028161604768, 3.8842481489345553, 9.926496760652686, 45.51916717772325, -17.51581519395759,
        -24.17018582884555, 20.56453162122081, -33.35183361348383, -39.35981963332744, 6.6175692915052124,
        -28.757454741394405, -28.241873874788403, 12.129996280240531],
    17: [20.843424016596217, 8.336782482517625, -20.67849100704844, -5.821690174663528, -43.86627116070139,
         -22.19021688973322, 46.86544531042614, 10.520514703004528, -1.9806751221472814, 19.994944247949025,
         -31.52793916771151, -31.400490767971448, 15.161581504062692],
    35: [21.699828903220954, 7.244141158391928, -33.19282158187496, -5.055191580499231, -2.6782131588006948,
         23.635424691316523, 29.4939733155519, -46.011329893628165, -26.810988286786, 45.475103811751076,
         7.423785526816416, -18.382044731996498, 2.9244510831694637],
}  # fmt: skip


def test_cepstra_are_those_that_syncnet_was_trained_with() -> None:
    t = np.arange(6000) / 16_000
    sound = 0.3 * np.sin(2 * np.pi * (200 + 1500 * t) * t) + 0.05 * np.sin(2 * np.pi * 3000 * t)
    found = cepstra(sound.astype(np.float32))
    assert found.shape == (36, 13)
    for row, expected in CEPSTRA.items():
        np.testing.assert_allclose(found[row], expected, rtol=1e-6)


def test_silence_and_a_few_samples_give_finite_cepstra() -> None:
    assert np.isfinite(cepstra(np.zeros(800, np.float32))).all()
    assert cepstra(np.zeros(10, np.float32)).shape == (1, 13)


@pytest.fixture(scope="module")
def syncnet() -> SyncNet:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SyncNet().eval().requires_grad_(requires_grad=False)


def test_architecture_has_the_shapes_of_the_public_weights(syncnet: SyncNet) -> None:
    state = syncnet.state_dict()
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items() if key.endswith("weight")}
    assert shapes["netcnnlip.0.weight"] == (96, 3, 5, 7, 7)
    assert shapes["netcnnlip.4.weight"] == (256, 96, 1, 5, 5)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netcnnaud.4.weight"] == (192, 64, 3, 3)
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netfcaud.3.weight"] == shapes["netfclip.3.weight"] == (1024, 512)
    assert (
        sum(tensor.numel() for key, tensor in state.items() if "running" not in key and "num" not in key)
        == 13_631_616  # "13.6 M"
    )


def test_both_branches_give_1024_values(syncnet: SyncNet) -> None:
    assert syncnet.embed_faces(torch.zeros(1, 3, 5, 224, 224)).shape == (1, 1024)
    assert syncnet.embed_sound(torch.zeros(2, 1, 13, 20)).shape == (2, 1024)


def test_weights_are_read_without_running_code(tmp_path: Path, syncnet: SyncNet) -> None:
    path = tmp_path / "syncnet_v2.model"
    torch.save(syncnet.state_dict(), path)
    loaded = load_syncnet(path)
    assert torch.equal(loaded.netfcaud[3].weight, syncnet.netfcaud[3].weight)  # type: ignore[arg-type]
    torch.save({"netfcaud.0.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(WeightsError, match="does not hold the weights of SyncNet v2"):
        load_syncnet(path)
    with path.open("wb") as file:
        pickle.dump({"key": Path("here")}, file)
    with pytest.raises(WeightsError):
        load_syncnet(path)


def test_measures_are_minimum_and_median_of_the_mean_curve() -> None:
    torch.manual_seed(0)
    sounds = torch.randn(60, 8)
    late = torch.cat([torch.randn(4, 8), sounds])[:60]  # the sound of frame t comes at t + 4
    distance, confidence, offset = lse(sounds, late)
    assert offset == 4
    padded = torch.cat([torch.zeros(15, 8), late, torch.zeros(15, 8)])
    curve = [
        float(np.mean([torch.linalg.norm(sounds[t] - padded[t + shift] + 1e-6) for t in range(60)]))
        for shift in range(31)
    ]
    assert distance == pytest.approx(min(curve), abs=1e-4)
    assert confidence == pytest.approx(np.median(curve) - min(curve), abs=1e-4)


def test_a_video_is_measured(tmp_path: Path, syncnet: SyncNet) -> None:
    frames = mouth_frames(0.7, 0, size_px=224)
    path = write_talk(tmp_path / "talk.mkv", frames, noise_sound(0.7, 0), codec="pcm_s16le")
    (score,) = lse_of_video(path, syncnet, detector=None, device="cpu")  # type: ignore[arg-type]
    assert score.frames == 12
    assert score.lse_d > 0
    assert score.lse_c >= 0
    assert score.to_dict()["track_id"] == -1
