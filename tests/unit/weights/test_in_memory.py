"""Weights that were changed in memory say so: their features carry another identity."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.making import TINY, PaintedFace, noise
from torch import nn

from marlin_sdk import ConfigError, Marlin
from marlin_sdk.weights.in_memory import WeightsInMemory

VIDEO = noise(40, 32, 32)


@pytest.fixture
def model() -> Marlin:
    return Marlin.untrained(TINY, device="cpu", detector=PaintedFace(), decoder=True)


def weights_of(model: Marlin) -> dict[str, Any]:
    """What the metadata of features says of the weights."""
    meta = model.extract(VIDEO, source_fps=25.0).meta
    return {name: meta.get(name) for name in ("model", "commit", "untrained", "seed", "weights_sha256")}


def step(encoder: Any) -> None:
    optimiser = torch.optim.SGD(encoder.requires_grad_().parameters(), lr=0.1)
    encoder(torch.rand(1, *TINY.clip_shape)).square().sum().backward()
    optimiser.step()


def through_data(encoder: Any) -> None:
    encoder.blocks[0].attn.proj.weight.data.mul_(2)  # does not count as a new version of the parameter


def through_numpy(encoder: Any) -> None:
    encoder.norm.weight.detach().numpy()[3] += 1


def in_place(encoder: Any) -> None:
    with torch.no_grad():
        encoder.norm.bias.add_(1)


def in_inference_mode(encoder: Any) -> None:
    with torch.inference_mode():
        encoder.norm.bias.add_(1)


def swap_of_two_rows(encoder: Any) -> None:
    weight = encoder.blocks[0].mlp.up.weight
    with torch.no_grad():
        weight[[0, 1]] = weight[[1, 0]]


def other_state(encoder: Any) -> None:
    encoder.load_state_dict({name: tensor + 1 for name, tensor in encoder.state_dict().items()})


def other_parameter(encoder: Any) -> None:
    encoder.norm.weight = nn.Parameter(torch.full_like(encoder.norm.weight, 2))


def other_module(encoder: Any) -> None:
    encoder.blocks[1] = copy.deepcopy(encoder.blocks[0])


def one_block_less(encoder: Any) -> None:
    encoder.blocks = encoder.blocks[:1]


def other_positions(encoder: Any) -> None:
    encoder.positions.data.zero_()


WAYS: list[Callable[[Any], object]] = [
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
def test_features_of_changed_weights_carry_another_identity(model: Marlin, change: Callable[[Any], object]) -> None:
    before = weights_of(model)
    assert (before["untrained"], before["seed"], before["weights_sha256"]) == (True, 0, None)
    change(model.encoder)
    after = weights_of(model)
    assert after["untrained"] is False
    assert after["seed"] is None
    assert len(after["weights_sha256"]) == 64
    assert after["model"] == "custom, changed in memory"
    assert weights_of(model) == after


def test_weights_that_are_put_back_are_the_loaded_ones_again(model: Marlin) -> None:
    before, state = dict(model.identity), copy.deepcopy(model.encoder.state_dict())
    swap_of_two_rows(model.encoder)
    assert model.identity != before
    assert model.name == "custom, changed in memory"
    assert not model.is_untrained
    model.encoder.load_state_dict(state)
    assert model.identity == before


def test_each_change_has_an_identity_of_its_own(model: Marlin) -> None:
    seen = []
    for _ in range(3):
        step(model.encoder)
        seen.append(model.identity["weights_sha256"])
    assert len(set(seen)) == 3


def test_decoder_is_part_of_the_identity(model: Marlin) -> None:
    assert model.decoder is not None
    model.decoder.mask_token.data.add_(1)
    assert model.identity["weights_sha256"]


def test_looking_at_the_networks_changes_nothing(model: Marlin) -> None:
    before = dict(model.identity)
    assert model.decoder is not None
    model.encoder.requires_grad_().train().eval().zero_grad()
    model.encoder(torch.rand(1, *TINY.clip_shape)).sum().backward()
    model.reconstruct(VIDEO[:16], masking="random")
    assert model.identity == before


def test_copies_and_models_with_another_detector_see_their_own_weights(model: Marlin) -> None:
    shared, apart, sent = model.with_detector(PaintedFace()), copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    before = dict(model.identity)
    in_place(model.encoder)
    assert shared.identity == model.identity != before
    assert apart.identity == sent.identity == before
    again = copy.deepcopy(model)
    assert again.identity == model.identity
    in_place(apart.encoder)
    in_place(sent.encoder)
    assert apart.identity == sent.identity == model.identity


def test_precision_is_no_change_until_rounded_weights_are_taken_for_exact_ones(model: Marlin) -> None:
    before, encoder = dict(model.identity), model.encoder
    assert model.to("bfloat16").identity == before
    in_place(encoder)
    changed = model.identity
    assert changed != before
    assert model.to("bfloat16").identity == changed
    exact = Marlin.untrained(TINY, device="cpu", detector=PaintedFace())
    assert exact.to("float16").is_untrained
    assert exact.to("cpu").is_untrained
    rounded = exact.to("float32").identity
    assert rounded["weights_sha256"]
    assert not rounded["untrained"]


def test_weights_of_another_runtime_never_change() -> None:
    model = Marlin.untrained(TINY.without_decoder(), runtime="onnx", detector=PaintedFace())
    assert model.identity["untrained"]
    for use in (lambda: model.encoder, lambda: model.save_pretrained("x"), lambda: model.push_to_hub("lab/x")):
        with pytest.raises(ConfigError, match=r"runtime='onnx' holds no torch network.*runtime='torch'"):
            use()


@pytest.mark.parametrize("size", [1, 3, 8, 511, 512, 513, 5000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_digest_notices_each_value(size: int, dtype: torch.dtype) -> None:
    network = nn.Linear(size, 1, bias=False).to(dtype)
    weights = WeightsInMemory(dict.fromkeys(("model", "config")), {"encoder": network})
    weights.give_away()
    values = network.weight.data[0]
    for index in {0, size // 2, size - 1}:
        before = values[index].clone()
        values[index] = before + 1
        assert weights.is_changed
        values[index] = before
        assert not weights.is_changed


def test_digest_reads_a_view_of_other_memory(model: Marlin) -> None:
    encoder = model.encoder
    memory = torch.zeros(33)
    memory[1:] = encoder.norm.weight.detach()
    encoder.norm.weight = nn.Parameter(memory[1:])  # not at a multiple of eight octets
    assert model.is_untrained
    memory[32] += 1
    assert not model.is_untrained
