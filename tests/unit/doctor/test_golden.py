"""The self-test knows right numbers from wrong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from marlin_sdk.doctor.golden import GOLDEN, golden_clips, golden_encoder, worst_error
from marlin_sdk.weights.checkpoints import to_published_keys

CPU = torch.device("cpu")


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.03), (torch.float16, 0.03)])
def test_this_machine_gives_the_references_numbers(dtype: torch.dtype, bound: float) -> None:
    assert worst_error(CPU, dtype) < bound


@pytest.mark.parametrize(
    "part", ["blocks.1.attn.qkv.weight", "norm.bias", "positions", "patch_embedding.projection.bias"]
)
def test_a_model_that_computes_something_else_is_noticed(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = golden_encoder()
    with torch.no_grad():
        encoder.state_dict()[part].mul_(1.05)
    monkeypatch.setattr("marlin_sdk.doctor.golden.golden_encoder", lambda: encoder)
    assert worst_error(CPU, torch.float32) > 5e-4


def test_a_device_that_gives_nan_is_infinitely_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = golden_encoder()
    with torch.no_grad():
        encoder.norm.bias.fill_(float("nan"))
    monkeypatch.setattr("marlin_sdk.doctor.golden.golden_encoder", lambda: encoder)
    assert worst_error(CPU, torch.float32) == float("inf")


@pytest.mark.shared
def test_numbers_clip_and_weights_are_those_of_the_reference_data(shared: Path) -> None:
    folder = shared / "golden" / "tiny"
    with np.load(folder / "expected.npz") as expected:
        np.testing.assert_array_equal(golden_clips(), expected["x"][:1])
        np.testing.assert_allclose(GOLDEN, expected["pooled"][:1], atol=1e-6)
    theirs = torch.load(folder / "marlin_tiny.encoder.pt", weights_only=True)
    encoder = golden_encoder()
    own = {f"encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    ours = to_published_keys(own)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, atol=1e-6, rtol=1e-6)
