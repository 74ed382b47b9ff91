"""Losses against torch's own, and what heads and scores make of outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.evaluation.probe.targets import Target
from marlin_sdk.training.finetune.objective import Objective, Wanted
from marlin_sdk.training.finetune.selecting import Selection, validate

RAW = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
LABELS = np.array([0, 1, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0])
ALL = np.arange(12)


def target(values: Any, classes: tuple[str, ...], name: str = "mood") -> Target:
    kind: Any = "classification" if classes else "regression"
    return Target(name, kind, classes, np.asarray(values), 0)


def objective(*targets: Target, balanced: bool = False, smoothing: float = 0.0) -> Objective:
    return Objective.of(targets, ALL, balanced=balanced, smoothing=smoothing)


@pytest.mark.parametrize(("balanced", "smoothing"), [(False, 0.0), (False, 0.1), (True, 0.0)])
def test_loss_of_classes_is_that_of_torch(*, balanced: bool, smoothing: float) -> None:
    made = objective(target(LABELS, ("a", "b", "c")), balanced=balanced, smoothing=smoothing)
    weights = torch.tensor([12 / (3 * n) for n in (8, 2, 2)]) if balanced else None
    truth = torch.from_numpy(LABELS)
    expected = F.cross_entropy(RAW, truth, weight=weights, label_smoothing=smoothing, reduction="none").mean()
    assert float(made.loss(RAW, made.wanted(truth[:, None].float()))) == pytest.approx(float(expected), rel=1e-5)


def test_labels_that_are_unknown_do_not_count() -> None:
    yes = (LABELS > 0).astype(np.int64)
    made = objective(target(yes, ("no", "yes"), "x"), target(yes, ("no", "yes"), "y"))
    values = torch.from_numpy(np.stack([yes, yes], 1)).float()
    values[:4, 1] = torch.nan
    raw = RAW[:, :2].clone().requires_grad_()
    loss = made.loss(raw, made.wanted(values))
    parts = [F.binary_cross_entropy_with_logits(raw.detach()[rows, column], values[rows, column], reduction="sum")
             for column, rows in ((0, slice(None)), (1, slice(4, None)))]  # fmt: skip
    assert loss.item() == pytest.approx(float(sum(parts)) / 20, rel=1e-5)
    torch.autograd.backward(loss)
    assert raw.grad is not None
    assert raw.grad[:4, 1].abs().sum() == 0


def test_batch_without_a_label_costs_nothing() -> None:
    made = objective(target(LABELS, ("a", "b", "c")))
    assert float(made.loss(RAW, made.wanted(torch.full((12, 1), torch.nan)))) == 0


def test_balanced_labels_weigh_rare_answers_more() -> None:
    made = objective(target((LABELS == 1).astype(np.int64), ("no", "yes")), balanced=True)
    assert made.class_weights.tolist() == [[pytest.approx(12 / 20), pytest.approx(12 / 4)]]


def test_numbers_are_learned_in_units_of_their_deviation() -> None:
    numbers = np.linspace(-3, 8, 12)
    made = objective(target(numbers, ()))
    raw = ((torch.from_numpy(numbers) - numbers.mean()) / numbers.std()).float()[:, None]
    assert float(made.loss(raw, made.wanted(torch.from_numpy(numbers).float()[:, None]))) < 1e-10
    (scores,) = made.scores(raw)
    assert scores[:, 0] == pytest.approx(numbers, abs=1e-5)


def test_scores_are_probabilities() -> None:
    (scores,) = objective(target(LABELS, ("a", "b", "c"))).scores(RAW)
    assert scores.sum(axis=1) == pytest.approx(np.ones(12))
    yes = (LABELS > 0).astype(np.int64)
    (binary,) = objective(target(yes, ("no", "yes"))).scores(RAW[:, :1])
    assert binary[:, 1] == pytest.approx(torch.sigmoid(RAW[:, 0].double()).numpy())


def test_mixed_clips_want_a_share_of_both() -> None:
    wanted = Wanted(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0], [3.0]]))
    mixed = wanted.mixed(torch.tensor([1, 0]), torch.tensor([0.25, 1.0]))
    assert mixed.values.tolist() == [[0.25, 0.75], [0.0, 1.0]]
    assert mixed.weights.tolist() == [[2.5], [3.0]]
    unknown = Wanted(wanted.values, torch.tensor([[1.0], [0.0]])).mixed(torch.tensor([1, 0]), torch.tensor([0.5, 0.5]))
    assert unknown.weights.tolist() == [[0.0], [0.0]]


def test_validation_knows_balanced_accuracy_area_and_concordance() -> None:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    made = objective(target(LABELS, ("a", "b", "c")))
    found = validate(made, RAW, torch.from_numpy(LABELS)[:, None].float())
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(LABELS, RAW.argmax(1)))
    yes = (LABELS > 0).astype(np.int64)
    binary = objective(target(yes, ("no", "yes")))
    area = validate(binary, RAW[:, :1], torch.from_numpy(yes)[:, None].float())["auc"]
    assert area == pytest.approx(roc_auc_score(yes, RAW[:, 0]))
    numbers = torch.linspace(-3, 8, 12)[:, None]
    regression = objective(target(numbers[:, 0].double().numpy(), ()))
    exact = (numbers - numbers.mean()) / numbers.std(correction=0)
    assert validate(regression, exact, numbers)["ccc"] == pytest.approx(1.0)
    assert validate(regression, exact + 1, numbers)["ccc"] == pytest.approx(2 / 3, rel=1e-4)


def test_best_epoch_is_that_of_the_smallest_loss() -> None:
    selection = Selection()
    improved = [selection.add(epoch, {"loss": loss}, by_auc=False) for epoch, loss in enumerate((3.0, 2.0, 2.5, 2.0))]
    assert improved == [True, True, False, False]
    assert (selection.best_epoch, selection.rested) == (1, 2)
    by_area = Selection()
    assert [by_area.add(e, {"loss": 1.0, "auc": a}, by_auc=True) for e, a in enumerate((0.6, 0.5, 0.7))] == [1, 0, 1]
