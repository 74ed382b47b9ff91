"""`evaluate`: the right rows go into each number, and what a number cannot say is said."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from marlin_sdk.errors import ConfigError, PredictionsError
from marlin_sdk.evaluation.evaluate import evaluate
from marlin_sdk.evaluation.predictions import Predictions, concatenate
from marlin_sdk.evaluation.results import Evaluation, Row

VIDEOS, GROUPS = 240, 60


def made(*, noise: float = 1.0, seed: int = 0, **columns: Any) -> Predictions:
    """Binary predictions of videos, four of each group."""
    y_true = np.random.default_rng(7).integers(0, 2, VIDEOS)
    noises = np.random.default_rng(seed + 1).standard_normal(VIDEOS) * noise
    scores = 1 / (1 + np.exp(-(2 * y_true - 1 + noises)))
    group = [f"person {n % GROUPS}" for n in range(VIDEOS)]
    given: dict[str, Any] = {"group": group, "seed": seed, **columns}
    return Predictions.of(id=[f"video {n}" for n in range(VIDEOS)], y_true=y_true, scores={"1": scores}, **given)


def row_of(evaluation: Evaluation, **wanted: Any) -> Row:
    (row,) = [row for row in evaluation.rows if all(getattr(row, key) == value for key, value in wanted.items())]
    return row


def auc(p: Predictions, rows: NDArray[Any] | slice = slice(None)) -> float:
    return float(roc_auc_score(p.y_true[rows], p.scores[rows, 0]))


def test_single_label_has_one_row_with_intervals() -> None:
    p = made()
    (row,) = evaluate(p, draws=500).rows
    assert (row.split, row.label, row.kind, row.ratio) == ("test", "label", "label", 1.0)
    assert (row.rows, row.videos, row.groups, row.seeds) == (VIDEOS, VIDEOS, GROUPS, 1)
    assert row.measures["auc"].value == pytest.approx(auc(p))
    for measure in row.measures.values():
        assert measure.value is not None
        assert measure.low is not None
        assert measure.high is not None
        assert measure.low < measure.value < measure.high
        assert (measure.seed_sd, measure.undefined) == (None, None)
    assert (row.notes, row.other, row.differences) == ((), None, None)


def test_result_is_the_same_whatever_the_order_of_rows_and_again() -> None:
    p = made()
    order = np.random.default_rng(0).permutation(VIDEOS)
    first = evaluate(p, draws=200).to_json()
    assert evaluate(p, draws=200).to_json() == first
    shuffled = evaluate(p.take(order), draws=200).to_json()
    for name, measure in first["rows"][0]["measures"].items():
        assert shuffled["rows"][0]["measures"][name] == pytest.approx(measure)
    assert evaluate(p, draws=200, seed=1).to_json() != first


def test_seeds_are_averaged_and_their_spread_is_told_apart() -> None:
    parts = [made(seed=seed) for seed in range(3)]
    row = row_of(evaluate(concatenate(parts), draws=200, metrics=["auc"]))
    values = [auc(part) for part in parts]
    assert row.measures["auc"].value == pytest.approx(np.mean(values))
    assert row.measures["auc"].seed_sd == pytest.approx(np.std(values, ddof=1))
    assert (row.seeds, row.rows, row.videos) == (3, VIDEOS, VIDEOS)
    alone = [evaluate(part, draws=200, metrics=["auc"]).rows[0].measures["auc"] for part in parts]
    widths = [(one.high or 0) - (one.low or 0) for one in (*alone, row.measures["auc"])]
    assert widths[-1] > 0.5 * min(widths)  # other seeds are not other people


def test_folds_are_pooled() -> None:
    fold = np.arange(VIDEOS) % GROUPS % 5
    assert evaluate(made(fold=fold), draws=100).rows == evaluate(made(), draws=100).rows


def test_splits_and_ratios_have_rows_of_their_own() -> None:
    split = np.where(np.arange(VIDEOS) % GROUPS < 20, "val", "test")
    ratios = concatenate([made(split=split, ratio=ratio, noise=1 / ratio) for ratio in (1.0, 0.1)])
    evaluation = evaluate(ratios, draws=100, metrics=["auc"])
    assert [(row.split, row.ratio) for row in evaluation.rows] == [
        ("val", 0.1),
        ("val", 1.0),
        ("test", 0.1),
        ("test", 1.0),
    ]
    row = row_of(evaluation, split="test", ratio=1.0)
    assert (row.groups, row.videos) == (40, 160)
    assert row.measures["auc"].value == pytest.approx(auc(made(), split == "test"))


def test_several_labels_have_their_mean_and_their_pool() -> None:
    parts = [made(label=f"label {n}", noise=n + 0.5, seed=0) for n in range(3)]
    whole = concatenate(parts)
    evaluation = evaluate(whole, draws=200)
    assert [row.kind for row in evaluation.rows] == ["macro", "micro", "label", "label", "label"]
    macro, micro = evaluation.rows[:2]
    assert macro.measures["auc"].value == pytest.approx(np.mean([auc(part) for part in parts]))
    assert micro.measures["auc"].value == pytest.approx(auc(whole))
    said = whole.scores[:, 0] >= 0.5
    assert micro.measures["f1"].value == pytest.approx(f1_score(whole.y_true, said))
    assert macro.measures["accuracy"].value == pytest.approx(accuracy_score(whole.y_true, said))
    assert "3 rows of single labels are not shown" in evaluation.table()
    assert "label 2" in evaluation.table(labels=True)


def test_macro_interval_is_of_the_mean_on_the_same_draws() -> None:
    """Labels that are copies of one another: the mean is as uncertain as each."""
    copies = concatenate([made(label=name) for name in "abc"])
    evaluation = evaluate(copies, draws=200, metrics=["auc"])
    macro, label = row_of(evaluation, kind="macro").measures["auc"], row_of(evaluation, label="a").measures["auc"]
    assert (macro.low, macro.high) == pytest.approx((label.low, label.high))


def test_windows_are_averaged_over_a_video_or_not() -> None:
    p = made()
    four = np.arange(VIDEOS) // 4
    truth = np.repeat([0, 1], 30)[four]
    windows = Predictions.of(
        id=four, window=np.arange(VIDEOS) % 4, y_true=truth, scores={"1": p.scores[:, 0]}, group=four // 2
    )
    video = evaluate(windows, draws=100).rows[0]
    window = evaluate(windows, draws=100, level="window").rows[0]
    assert (video.rows, window.rows, video.videos, window.videos) == (60, 240, 60, 60)
    means = p.scores[:, 0].reshape(-1, 4).mean(axis=1)
    assert video.measures["auc"].value == pytest.approx(roc_auc_score(np.repeat([0, 1], 30), means))
    assert window.measures["auc"].value == pytest.approx(roc_auc_score(truth, p.scores[:, 0]))
    with pytest.raises(PredictionsError, match="no window level"):
        evaluate(p, level="window")
    with pytest.raises(ConfigError, match="level 'frame' is unknown"):
        evaluate(p, level="frame")  # type: ignore[arg-type]


def test_paired_comparison_is_sharper_than_two_intervals_and_corrected() -> None:
    one = concatenate([made(label=f"l{n}", noise=1.0, seed=0) for n in range(4)])
    two = replace(one, scores=np.clip(one.scores * 0.9 + 0.05 * np.arange(len(one))[:, None] % 0.3, 0, 1))
    evaluation = evaluate(one, two, draws=500, metrics=["auc"])
    row = row_of(evaluation, label="l0")
    assert row.other is not None
    assert row.differences is not None
    difference = row.differences["auc"]
    assert difference.value == pytest.approx((row.measures["auc"].value or 0) - (row.other["auc"].value or 0))
    width = (difference.high or 0) - (difference.low or 0)
    assert 0 < width < 0.7 * ((row.other["auc"].high or 0) - (row.other["auc"].low or 0))
    assert (difference.comparisons, difference.correction) == (4, "holm")
    assert (difference.p_corrected or 0) >= (difference.p or 1)
    macro = row_of(evaluation, kind="macro").differences
    assert macro is not None
    assert macro["auc"].comparisons == 1
    assert "difference" in evaluation.table()


def test_same_predictions_do_not_differ() -> None:
    (row,) = evaluate(made(), made(seed=0), draws=100, interval="bca").rows
    assert row.differences is not None
    for difference in row.differences.values():
        assert (difference.value, difference.low, difference.high, difference.p) == (0, 0, 0, 1)


def test_files_to_compare_may_differ_in_order_of_rows_classes_and_seeds() -> None:
    names = ["a", "b", "c"]
    rng = np.random.default_rng(0)
    y_true = np.array(names)[rng.integers(0, 3, VIDEOS)]
    scores = rng.dirichlet([1, 1, 1], VIDEOS)
    ids = [f"video {n}" for n in range(VIDEOS)]
    one = Predictions.of(id=ids, y_true=y_true, scores={name: scores[:, at] for at, name in enumerate(names)})
    order = rng.permutation(VIDEOS)
    two = Predictions.of(
        id=np.array(ids)[order],
        y_true=y_true[order],
        scores={name: scores[order, names.index(name)] for name in "cab"},
        seed=5,
    )
    (row,) = evaluate(one, two, draws=100).rows
    assert row.differences is not None
    assert {name: difference.value for name, difference in row.differences.items()} == pytest.approx(
        dict.fromkeys(row.differences, 0.0)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.take(slice(2, None)), "2 are only in the first: 'video 0', 'video 1' "),
        (lambda p: replace(p, y_true=1 - p.y_true), "differ in y_true in 240 rows, the first id 'video 0'"),
        (lambda p: replace(p, group=p.id), "differ in group in 240 rows"),
        (lambda p: replace(p, ratio=p.ratio / 2), "240 are only in the first.*ratio 1, label 'label'"),
        (lambda p: replace(p, classes=("0", "2")), r"scores \['1'\].*with \['2'\]"),
        (lambda p: replace(p, classes=("1", "0")), r"scores \['1'\].*with \['0'\]"),
    ],
)
def test_files_that_are_not_of_the_same_videos_are_refused(change: Any, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        evaluate(made(), change(made()))
    if "only in the first" in message:
        with pytest.raises(PredictionsError, match=r"^predictions to compare must .* only in the second"):
            evaluate(change(made()), made())


def test_one_class_only_is_said_and_not_nan() -> None:
    p = made()
    evaluation = evaluate(p.take(p.y_true == 1), draws=100)
    (row,) = evaluation.rows
    assert row.measures["auc"].value is row.measures["auc"].low is None
    assert row.measures["auc"].undefined == "undefined: it needs rows of the class and rows of others"
    assert any("no row is of the class '0'" in note for note in row.notes)
    assert "undefined: it needs" in evaluation.table()
    assert json.loads(json.dumps(evaluation.to_json(), allow_nan=False))["rows"][0]["measures"]["auc"]["value"] is None


def test_label_without_an_auc_is_left_out_of_the_mean_by_name() -> None:
    p = made(label="whole")
    lone = made(label="lone")
    evaluation = evaluate(concatenate([p, lone.take(lone.y_true == 0)]), draws=100)
    measure = row_of(evaluation, kind="macro").measures["auc"]
    assert measure.value == pytest.approx(auc(p))
    assert measure.undefined is not None
    assert measure.undefined.startswith("without 1 of 2 labels, undefined: ")
    assert measure.undefined.endswith(": 'lone'")


def test_rare_class_is_missing_in_some_draws_which_is_counted() -> None:
    p = made()
    kept = np.flatnonzero(p.y_true == 0)
    few = np.concatenate([kept, np.flatnonzero(p.y_true == 1)[:1]])
    (row,) = evaluate(p.take(few), draws=1000, metrics=["auc"]).rows
    assert 250 < row.measures["auc"].undefined_draws < 480  # (1 - 1/60)**60 = 0.365
    assert any("auc is undefined in" in note and "1,000 draws" in note for note in row.notes)


def test_few_groups_are_said_and_one_has_no_interval() -> None:
    (row,) = evaluate(made(group=[n % 12 for n in range(VIDEOS)]), draws=100).rows
    assert any("12 groups are few" in note for note in row.notes)
    evaluation = evaluate(made(group=["ann"] * VIDEOS), made(group=["ann"] * VIDEOS), draws=100)
    (row,) = evaluation.rows
    assert row.notes == ("one group only: there is nothing to draw from, and no interval",)
    for measure in row.measures.values():
        assert measure.low is measure.high is None
    assert row.differences is not None
    assert row.differences["auc"].p is row.differences["auc"].p_corrected is None
    assert "one group only" in evaluation.table()


def test_notes_are_told_once_with_what_they_are_about() -> None:
    group = [n % 12 for n in range(VIDEOS)]
    p, lone = (made(label=name, group=group) for name in ("whole", "lone"))
    table = evaluate(concatenate([p, lone.take(lone.y_true == 0)]), draws=100).table(labels=True)
    assert table.count("12 groups are few") == 1
    assert "\nnote: 12 groups are few" in table
    assert "\nnote on lone: no row is of the class '1'" in table


def test_groups_that_are_videos_and_groups_on_both_sides_are_said() -> None:
    (note,) = evaluate(made(group=None), draws=100).notes
    assert note.startswith("every group has one video")
    split = ["train"] * (VIDEOS - 3) + ["test"] * 3
    (note,) = evaluate(made(split=split), draws=100, metrics=["accuracy"]).notes
    assert note.startswith("3 groups are in several splits of one fold, such as 'person 57'")
    by_fold = concatenate([made(split="train", fold=0), made(split="test", fold=1)])
    assert evaluate(by_fold, draws=100, metrics=["accuracy"]).notes == ()


def test_bca_and_percentile_differ_and_the_result_says_which() -> None:
    percentile, bca = (evaluate(made(noise=0.6), draws=1000, interval=kind) for kind in ("percentile", "bca"))
    assert (percentile.interval, bca.interval) == ("percentile", "bca")
    assert "percentile intervals" in percentile.table()
    assert "BCa intervals" in bca.table()
    one, two = percentile.rows[0].measures["auc"], bca.rows[0].measures["auc"]
    assert one.low != two.low
    assert one.low == pytest.approx(two.low, abs=0.02)


def test_regression_and_classes_have_their_metrics() -> None:
    rng = np.random.default_rng(0)
    y_true = rng.standard_normal(60)
    regression = Predictions.of(id=range(60), y_true=y_true, scores={"value": y_true + rng.standard_normal(60)})
    (row,) = evaluate(regression, draws=100).rows
    assert list(row.measures) == ["ccc", "pearson", "mae"]
    assert row.measures["pearson"].value == pytest.approx(np.corrcoef(y_true, regression.scores[:, 0])[0, 1])
    scores = rng.dirichlet([1, 1, 1], 60)
    classes = Predictions.of(
        id=range(60), y_true=rng.integers(0, 3, 60), scores=dict(zip("012", scores.T, strict=True))
    )
    (row,) = evaluate(classes, draws=100, metrics=["war", "uar"]).rows
    assert list(row.measures) == ["accuracy", "balanced_accuracy"]


def test_progress_counts_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    p = concatenate([made(label=name) for name in "ab"])
    evaluate(p, draws=100, metrics=["accuracy"], progress=lambda done, total: seen.append((done, total)))
    assert sorted(seen) == [(1, 3), (2, 3), (3, 3)]  # both labels and the pool


MODULES = ["columns", "corrections", "evaluate", "intervals", "levels", "metrics", "pairs", "predictions", "results"]


def test_modules_are_imported_without_torch_av_opencv_and_scikit_learn() -> None:
    code = (
        f"import sys\nfrom marlin_sdk.evaluation import {', '.join(MODULES)}\n"
        "heavy = {'torch', 'av', 'cv2', 'sklearn', 'scipy', 'pyarrow', 'pandas'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_interval_that_does_not_hold_its_value_is_named() -> None:
    """Classes that few of twenty groups have are missing from some draws, and doubled in others."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 60, 120)
    scores = random.dirichlet(np.ones(60), 120)
    p = Predictions.of(
        id=[f"v{n}" for n in range(120)],
        group=[f"g{n // 6}" for n in range(120)],
        y_true=[f"c{n}" for n in truth],
        scores={f"c{n}": scores[:, n] for n in range(60)},
    )
    (row,) = evaluate(p, draws=400, metrics=["average_precision"]).rows
    measure = row.measures["average_precision"]
    assert measure.low is not None
    assert measure.value is not None
    assert measure.value < measure.low
    assert any("the interval of average_precision does not hold the value" in note for note in row.notes)
