"""The Inception network of FID, and whose weights it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.unit.inception.weights import random_state

from marlin_sdk.errors import ConfigError, WeightsError
from marlin_sdk.inception.network import FEATURES, Inception, load_inception

# Of pytorch-fid 0.3.0 with these weights and this picture (torch 2.13.0, CPU), on 2026-11-30. The network of
# torch-fidelity 0.4.0, which scales pictures by 128 and not 127.5, gave the same to the last bit once that was undone.
PYTORCH_FID = (0.07169672101736069, 0.7228533625602722, 0.0, 2.2850100994110107, 0.3040016293525696)
PYTORCH_FID_MEAN, PYTORCH_FID_SD = 1.2353532314300537, 1.5542700290679932


def test_it_is_the_network_of_pytorch_fid(inception: Inception) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, 96, 80), dtype=np.uint8)
    with torch.inference_mode():
        features = inception(torch.from_numpy(picture).float() / 255)[0]
    assert features.shape == (FEATURES,)
    np.testing.assert_allclose(features[:5], PYTORCH_FID, rtol=1e-4, atol=1e-5)
    assert float(features.mean()) == pytest.approx(PYTORCH_FID_MEAN, rel=1e-5)
    assert float(features.std()) == pytest.approx(PYTORCH_FID_SD, rel=1e-5)


def test_it_is_frozen_and_has_the_published_size(inception: Inception) -> None:
    assert not inception.training
    assert not any(parameter.requires_grad for parameter in inception.parameters())
    assert sum(parameter.numel() for parameter in inception.parameters()) == 21_785_568


def test_safetensors_and_files_without_a_classifier_load_too(tmp_path: Path, inception: Inception) -> None:
    state = {name: tensor for name, tensor in random_state().items() if not name.startswith("fc.")}
    state = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "inception.safetensors")
    loaded = load_inception(tmp_path / "inception.safetensors", device="cpu")
    assert torch.equal(loaded.Conv2d_1a_3x3.conv.weight, inception.Conv2d_1a_3x3.conv.weight)


def _without(state: dict[str, torch.Tensor]) -> None:
    del state["Mixed_7c.branch1x1.conv.weight"]


def _reshaped(state: dict[str, torch.Tensor]) -> None:
    state["Mixed_6b.branch7x7_2.conv.weight"] = torch.zeros(3)


def _nan(state: dict[str, torch.Tensor]) -> None:
    state["Mixed_5b.branch1x1.bn.bias"][0] = torch.nan


def _of_torchvision(state: dict[str, torch.Tensor]) -> None:
    state["fc.weight"] = torch.zeros(1000, FEATURES)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without, r"1 tensors are missing.*Mixed_7c\.branch1x1\.conv\.weight"),
        (_reshaped, r"of another shape, such as Mixed_6b\.branch7x7_2\.conv\.weight"),
        (_nan, r"NaN or infinity in Mixed_5b\.branch1x1\.bn\.bias"),
        (_of_torchvision, "a classifier of 1000 classes; expected 1008"),
    ],
)
def test_other_weights_are_refused(
    change: Callable[[dict[str, torch.Tensor]], None], message: str, tmp_path: Path
) -> None:
    state = random_state()
    change(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=message):
        load_inception(tmp_path / "other.pth", device="cpu")


class _Harmful:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, ("raise SystemExit('it ran')",)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": _Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(WeightsError, match="opening it could run code"):
        load_inception(tmp_path / "harmful.pth", device="cpu")
    with pytest.raises(ConfigError, match="unknown device"):
        load_inception(tmp_path / "harmful.pth", device="abacus")
