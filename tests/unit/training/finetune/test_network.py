"""Features as extraction computes them, layers that open, heads that go out as those of a probe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.making import TINY
from tests.unit.training.finetune.test_objective import LABELS, objective, target

from marlin_sdk.evaluation.probe import attentive
from marlin_sdk.evaluation.probe.heads import Training, fit_head
from marlin_sdk.model import Encoder
from marlin_sdk.runtime.pooling import pool_time
from marlin_sdk.training.finetune.network import AttentionHead, FineTuned, MeanHead, Standard, feature_width, make_head

FEATURES = (np.random.default_rng(0).normal(3, 2, (12, 32)) + LABELS[:, None]).astype(np.float32)
ENDS = np.arange(1, 13) * 2
SEQUENCES = FEATURES.repeat(2, 0) + np.random.default_rng(1).normal(0, 1, (24, 32)).astype(np.float32)
NUMBERS = LABELS + np.linspace(0, 1, 12)
TARGETS = {
    "classes": target(LABELS, ("a", "b", "c")),
    "binary": target((LABELS > 0).astype(np.int64), ("no", "yes")),
    "numbers": target(NUMBERS, ()),
}


def network(kind: str = "linear") -> FineTuned:
    torch.manual_seed(0)
    made = FineTuned(Encoder(TINY), make_head(kind, 32, objective(TARGETS["classes"])))
    made.encoder.positions.requires_grad = False
    return made


def test_features_are_those_of_the_encoder() -> None:
    made, clips = network(), torch.rand(3, *TINY.clip_shape)
    assert torch.allclose(made.features(clips), made.encoder(clips), atol=1e-6)


def test_features_of_time_steps_are_those_of_an_extraction() -> None:
    clips, width = torch.rand(3, *TINY.clip_shape), feature_width(TINY, "time")
    made = FineTuned(Encoder(TINY), make_head("linear", width, objective(TARGETS["classes"])), pool="time")
    expected = pool_time(made.encoder(clips, pool="none"), TINY)
    assert expected.shape == (3, 8, 32)
    assert torch.allclose(made.features(clips), expected.reshape(3, width), atol=1e-6)
    assert made(clips[:, None]).shape == (3, 3)


@pytest.mark.parametrize("first_open", [0, 1, 2, 3])
def test_only_open_layers_get_gradients(first_open: int) -> None:
    made = network()
    made.first_open = first_open
    made(torch.rand(2, 1, *TINY.clip_shape)).sum().backward()
    layers = list(made.layers())
    assert len(layers) == made.num_layers + 1 == 4
    trained = [all(parameter.grad is not None for parameter in layer) for layer in layers]
    rest = [all(parameter.grad is None for parameter in layer) for layer in layers]
    assert trained == [index >= first_open for index in range(4)]
    assert rest == [index < first_open for index in range(4)]


def test_layers_hold_each_trainable_weight_once() -> None:
    made = network()
    listed = [id(parameter) for layer in made.layers() for parameter in layer]
    assert sorted(listed) == sorted(id(parameter) for parameter in made.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", list(TARGETS))
@pytest.mark.parametrize("kind", ["linear", "attentive"])
def test_head_starts_as_the_probe_and_goes_out_as_one(name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe's scores, those of the module that starts from it, and those of what it exports are the same."""
    monkeypatch.setattr(attentive, "_EPOCHS", 2)
    own, goal = TARGETS[name], objective(TARGETS[name])
    sequences = kind == "attentive"
    training = Training(
        SEQUENCES if sequences else FEATURES, ENDS if sequences else np.empty(0, np.int64), own.values, own.classes, []
    )
    heads: dict[str, Any] = {"classes": "logistic", "binary": "logistic", "numbers": "ridge"}
    fitted = fit_head("attentive" if sequences else heads[name], training)
    expected = fitted.scores(training.features, training.ends)
    module = make_head(kind, 32, goal)
    if kind == "attentive":  # its numbers are in units of the probe's training part, which is that of the objective
        assert isinstance(module, AttentionHead)
    else:
        assert isinstance(module, MeanHead)
    module.start([fitted], goal)
    module.eval()
    windows = torch.from_numpy(SEQUENCES.reshape(12, 2, 32) if sequences else FEATURES[:, None])
    mask = torch.ones(windows.shape[:2], dtype=torch.bool)
    (said,) = goal.scores(module(windows, mask))
    assert said == pytest.approx(expected, abs=2e-4)
    out = module.export(goal)["mood"]
    assert out.scores(training.features, training.ends) == pytest.approx(expected, abs=2e-4)


def test_mean_head_ignores_padding() -> None:
    head = MeanHead(32, 3).eval()
    windows = torch.randn(2, 4, 32)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    assert torch.allclose(head(windows, mask)[1], head(windows[1:, :2], mask[1:, :2])[0], atol=1e-6)


def test_standardisation_follows_what_the_features_become() -> None:
    standard = Standard(3).train()
    random = torch.Generator().manual_seed(0)
    for _ in range(300):
        out = standard(torch.randn(64, 3, generator=random) * torch.tensor([0.001, 1.0, 50.0]) + 7)
        assert out.mean(dim=0).abs().max() < 1e-3
        assert out.std(dim=0, correction=0).tolist() == pytest.approx([1, 1, 1], rel=1e-3)
    assert standard.mean.tolist() == pytest.approx([7, 7, 7], abs=4)
    assert standard.scale.tolist() == pytest.approx([0.001, 1.0, 50.0], rel=0.1)


def test_standardisation_of_a_batch_is_that_of_torch_with_its_gradients() -> None:
    rows = torch.randn(8, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    norm = torch.nn.BatchNorm1d(5, eps=1e-12, affine=False)
    (own,) = torch.autograd.grad((Standard(5)(rows) ** 3).sum(), rows)
    (expected,) = torch.autograd.grad((norm(rows) ** 3).sum(), rows)
    assert torch.allclose(own, expected, atol=1e-4)


def test_standardisation_settles_on_features_as_they_are() -> None:
    standard = Standard(2)
    rows = np.random.default_rng(0).normal([5, -3], [0.01, 20], (500, 2)).astype(np.float32)
    standard.settle(rows)
    out = standard.eval()(torch.from_numpy(rows))
    assert out.mean(dim=0).tolist() == pytest.approx([0, 0], abs=1e-3)
    assert out.std(dim=0, correction=0).tolist() == pytest.approx([1, 1], rel=1e-3)
    standard.settle(np.ones((4, 2), np.float32))  # constant
    assert torch.isfinite(standard(torch.from_numpy(rows))).all()


def test_standardisation_of_few_rows_or_in_a_test_is_what_it_was() -> None:
    standard = Standard(1)
    standard.scale.fill_(0.001)
    assert float(standard.eval()(torch.full((8, 1), 5.0)).max()) == pytest.approx(5000)
    assert float(standard.train()(torch.full((1, 1), 5.0))) != 0
    fixed = Standard(1, follow=False).train()
    assert torch.equal(fixed(torch.full((8, 1), 5.0)), torch.full((8, 1), 5.0))
    assert float(fixed.mean) == 0
