"""Weights that were changed in memory say so: their features carry another identity."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.making import TINY, PaintedFace, noise
from torch import nn

from marlin_sdk import Marlin
from marlin_sdk.model import Encoder

VIDEO = noise(40, 32, 32)


@pytest.fixture
def model() -> Marlin:
    return Marlin.untrained(TINY, device="cpu", detector=PaintedFace(), decoder=True)


def weights_of(model: Marlin) -> dict[str, Any]:
    """What the metadata of features says of the weights."""
    meta = model.extract(VIDEO, source_fps=25.0).meta
    return {name: meta.get(name) for name in ("model", "commit", "untrained", "seed", "weights_sha256")}


def step(encoder: Encoder) -> None:
    optimiser = torch.optim.SGD(encoder.requires_grad_().parameters(), lr=0.1)
    encoder(torch.rand(1, *TINY.clip_shape)).square().sum().backward()
    optimiser.step()


def through_data(encoder: Encoder) -> None:
    encoder.blocks[0].attn.proj.weight.data.mul_(2)  # does not count as a new version of the parameter


def through_numpy(encoder: Encoder) -> None:
    encoder.norm.weight.detach().numpy()[3] += 1


def in_place(encoder: Encoder) -> None:
    with torch.no_grad():
        encoder.norm.bias.add_(1)


def in_inference_mode(encoder: Encoder) -> None:
    with torch.inference_mode():
        encoder.norm.bias.add_(1)


def swap_of_two_rows(encoder: Encoder) -> None:
    weight = encoder.blocks[0].mlp.up.weight
    with torch.no_grad():
        weight[[0, 1]] = weight[[1, 0]]


def other_state(encoder: Encoder) -> None:
    encoder.load_state_dict({name: tensor + 1 for name, tensor in encoder.state_dict().items()})


def other_parameter(encoder: Encoder) -> None:
    encoder.norm.weight = nn.Parameter(torch.full_like(encoder.norm.weight, 2))


def other_module(encoder: Encoder) -> None:
    encoder.blocks[1] = copy.deepcopy(encoder.blocks[0])


def one_block_less(encoder: Encoder) -> None:
    encoder.blocks = encoder.blocks[:1]


def other_positions(encoder: Encoder) -> None:
    encoder.positions.data.zero_()


WAYS: list[Callable[[Encoder], object]] = [
    step,
    through_data,
    through_numpy,
    in_place,
    in_inference_mode,
    swap_of_two_rows,
    other_state,
    other_parameter,
    other_module,
    one_block_less,
    other_positions,
]


@pytest.mark.parametrize("change", WAYS)
def test_features_of_changed_weights_carry_another_identity(model: Marlin, change: Callable[[Encoder], object]) -> None:
    before = weights_of(model)
    assert (before["untrained"], before["seed"], before["weights_sha256"]) == (True, 0, None)
    change(model.encoder)
    after = weights_of(model)
    assert after["untrained"] is False
    assert after["seed"] is None
    assert len(after["weights_sha256"]) == 64
    assert after["model"] == "custom, changed in memory"
    assert weights_of(model) == after
    change(model.encoder)
    assert change in (other_positions, one_block_less, other_parameter, other_module, swap_of_two_rows) or (
        weights_of(model)["weights_sha256"] != after["weights_sha256"]
    )
