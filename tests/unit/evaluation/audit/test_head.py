"""Recall, false positives, AUC and calibration by cell equal those of scikit-learn and of a hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import recall_score, roc_auc_score
from tests.unit.evaluation.audit.auditing import labelled_dump, people

from marlin_sdk.errors import PredictionsError
from marlin_sdk.evaluation.audit.cells import Videos, make_cells, read_videos
from marlin_sdk.evaluation.audit.head import class_scorer, head_tables
from marlin_sdk.evaluation.predictions import Predictions


@pytest.fixture
def videos(tmp_path: Path) -> Videos:
    return read_videos(labelled_dump(tmp_path, people(80)), ["sex"])


def binary(ids: tuple[str, ...], **columns: Any) -> tuple[Predictions, NDArray[np.bool_], NDArray[np.float64]]:
    random = np.random.default_rng(0)
    truth = random.random(len(ids)) < 0.4
    score = np.clip(0.5 + 0.25 * (truth - 0.5) + 0.2 * random.standard_normal(len(ids)), 0.01, 0.99)
    return Predictions.of(id=ids, y_true=truth, scores={"true": score}, **columns), truth, score


def test_binary_measures_of_a_cell(videos: Videos) -> None:
    predictions, truth, score = binary(videos.ids)
    (table,) = head_tables(predictions, videos, make_cells(videos), draws=200)
    rows = np.array([value == "f" for value in videos.columns["sex"]])
    got = {name: estimate.value for name, estimate in table.rows[1].estimates.items()}
    said = score >= 0.5
    assert got["recall"] == pytest.approx((truth & said & rows).sum() / (truth & rows).sum())
    assert got["false_positive_rate"] == pytest.approx((~truth & said & rows).sum() / (~truth & rows).sum())
    assert got["auc"] == pytest.approx(roc_auc_score(truth[rows], score[rows]))
    confidence, right = np.maximum(score, 1 - score)[rows], (said == truth)[rows]
    bins = np.minimum((confidence * 10).astype(int), 9)
    expected = sum(abs((confidence - right)[bins == k].sum()) for k in range(10)) / rows.sum()
    assert got["calibration_error"] == pytest.approx(expected)
    assert table.rows[1].subjects == 40


def test_many_classes_are_averaged_one_against_the_rest() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 3, 120)
    scores = random.dirichlet(np.ones(3), 120)
    names = np.array(["a", "b", "c"])
    part = Predictions.of(id=range(120), y_true=names[truth], scores={n: scores[:, k] for k, n in enumerate(names)})
    got = {name: value[0] for name, value in class_scorer(part, np.arange(120), 120)(np.ones((120, 1))).items()}
    assert got["recall"] == pytest.approx(recall_score(truth, scores.argmax(axis=1), average="macro"))
    assert got["auc"] == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr"))


def test_regression_has_an_error_and_a_bias(videos: Videos) -> None:
    count = len(videos.ids)
    truth = np.linspace(0, 1, count)
    predicted = truth + np.where(np.arange(count) % 2, 0.1, -0.3)
    predictions = Predictions.of(id=videos.ids, y_true=truth, scores={"value": predicted})
    (table,) = head_tables(predictions, videos, make_cells(videos), draws=200)
    assert table.rows[0].estimates["mae"].value == pytest.approx(0.2)
    assert table.rows[0].estimates["bias"].value == pytest.approx(-0.1)
    assert table.rows[1].estimates["bias"].to_best is None
    assert table.rows[1].estimates["bias"].to_overall is not None


def test_only_the_test_part_of_the_dump_counts(videos: Videos) -> None:
    split = ["test" if index < 100 else "val" for index in range(len(videos.ids))]
    predictions, *_ = binary(videos.ids, split=split)
    (table,) = head_tables(predictions, videos, make_cells(videos), draws=100)
    assert table.rows[0].videos == 100
    others, *_ = binary((*videos.ids[:150], *(f"other{k}" for k in range(10))))
    (table,) = head_tables(others, videos, make_cells(videos), draws=100)
    assert table.rows[0].videos == 150
    assert any("10 predictions are for videos that the dump does not have" in note for note in table.notes)


def test_predictions_of_other_videos_are_refused(videos: Videos) -> None:
    predictions, *_ = binary(tuple(f"other{k}" for k in range(30)))
    with pytest.raises(
        PredictionsError, match=r"none of the videos of the predictions .* give the dump that was probed"
    ):
        head_tables(predictions, videos, make_cells(videos))
