from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.evaluation.probe.probing import two_classes, write_labelled

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError, FeatureFileError
from marlin_sdk.evaluation.predictions import Predictions, read_predictions
from marlin_sdk.evaluation.probe.card import card_of
from marlin_sdk.evaluation.probe.head_file import load_heads
from marlin_sdk.evaluation.probe.outcome import measure_probe, write_results
from marlin_sdk.evaluation.probe.run import Probe, ProbeSettings, run_probe


def accuracy(predictions: Predictions) -> float:
    return float(((predictions.scores[:, 0] >= 0.5) == (predictions.y_true == 1)).mean())


@pytest.fixture
def dump(tmp_path: Path) -> FeatureDump:
    labels, signal = two_classes()
    return FeatureDump(write_labelled(tmp_path / "dump", labels, signal=signal))


def probe(dump: FeatureDump, tmp_path: Path, **settings: Any) -> Probe:
    return run_probe(dump, tmp_path / "probe", ProbeSettings(label="emotion", **settings))


def test_features_know_and_baselines_do_not(dump: FeatureDump, tmp_path: Path) -> None:
    found = probe(dump, tmp_path).predictions
    assert set(found) == {"features", "metadata", "shuffled", "majority"}
    assert accuracy(found["features"]) > 0.95
    assert all(accuracy(found[arm]) < 0.8 for arm in ("metadata", "shuffled", "majority"))
    test = found["features"].take(found["features"].split.recode(["test"]) == 0)
    assert set(test.group.to_array()[:]) <= {own["group"] for own in map(dump.labels, dump) if own["split"] == "test"}
    written = read_predictions(tmp_path / "probe" / "predictions.parquet")
    np.testing.assert_array_equal(written.scores, found["features"].scores)


def test_nothing_of_the_test_part_reaches_the_head(dump: FeatureDump, tmp_path: Path) -> None:
    """Other labels of the test part, the same scores."""
    labels, signal = two_classes()
    for own in labels:
        if own["split"] == "test":
            own["emotion"] = "angry" if own["emotion"] == "happy" else "happy"
    other = FeatureDump(write_labelled(tmp_path / "other", labels, signal=signal))
    scores = [
        run_probe(one, tmp_path / name, ProbeSettings(label="emotion")) for one, name in ((dump, "a"), (other, "b"))
    ]
    first, second = (one.predictions["features"].scores for one in scores)
    np.testing.assert_array_equal(first, second)


def test_metadata_that_tells_the_label_is_suspicious(tmp_path: Path) -> None:
    labels, signal = two_classes(120, people=40)
    lengths = [9.0 if own["emotion"] == "happy" else 3.0 for own in labels]
    leaking = FeatureDump(write_labelled(tmp_path / "dump", labels, signal=signal, durations_s=lengths))
    outcome = measure_probe(probe(leaking, tmp_path, folds=4), draws=200)
    assert any("metadata of the files only" in said for said in outcome.suspicions)
    assert "the data may leak it" in card_of(outcome)


def test_against_another_dump_in_pairs(dump: FeatureDump, tmp_path: Path) -> None:
    labels, _ = two_classes()
    noise = FeatureDump(write_labelled(tmp_path / "noise", labels, seed=5, weights="untrained:1"))
    found = run_probe(dump, tmp_path / "probe", ProbeSettings(label="emotion", folds=4), against=noise)
    outcome = measure_probe(found, draws=200)
    assert outcome.paired is not None
    difference = (outcome.paired.rows[0].differences or {})["accuracy"]
    assert difference.value == pytest.approx(
        accuracy(found.predictions["features"]) - accuracy(found.predictions["against"])
    )
    assert difference.low is not None
    assert difference.low > 0
    assert "clear." in card_of(outcome)


def test_fewer_labels_are_nested_draws_on_the_same_test_part(dump: FeatureDump, tmp_path: Path) -> None:
    found = probe(dump, tmp_path, ratios=(0.4, 1.0), seeds=3).predictions["features"]
    assert sorted(set(zip(found.ratio.tolist(), found.seed.tolist(), strict=True))) == [
        (0.4, 0),
        (0.4, 1),
        (0.4, 2),
        (1.0, 0),
    ]
    held = [set(found.take((found.ratio == ratio) & (found.seed == 0)).id.to_array()) for ratio in (0.4, 1.0)]
    assert held[0] == held[1]


def test_finished_cells_are_not_computed_again(dump: FeatureDump, tmp_path: Path) -> None:
    first = probe(dump, tmp_path, folds=3)
    cells = sorted((tmp_path / "probe" / "cells").iterdir())
    assert len(cells) == 3 * 4
    kept = {cell: cell.stat().st_mtime_ns for cell in cells[1:]}
    cells[0].unlink()
    again = probe(dump, tmp_path, folds=3)
    assert {cell: cell.stat().st_mtime_ns for cell in cells[1:]} == kept
    assert cells[0].exists()
    np.testing.assert_array_equal(first.predictions["features"].scores, again.predictions["features"].scores)


def test_another_probe_in_the_folder_is_refused(dump: FeatureDump, tmp_path: Path) -> None:
    probe(dump, tmp_path)
    with pytest.raises(ConfigError, match=r"(?s)holds another probe.*folds: None there, 3 requested.*--overwrite"):
        probe(dump, tmp_path, folds=3)
    run_probe(dump, tmp_path / "probe", ProbeSettings(label="emotion", folds=3), overwrite=True)
    assert len(list((tmp_path / "probe" / "cells").iterdir())) == 12


def test_changed_labels_are_another_probe(dump: FeatureDump, tmp_path: Path) -> None:
    probe(dump, tmp_path)
    labels, signal = two_classes()
    labels[0]["note"] = "new"
    other = FeatureDump(write_labelled(tmp_path / "other", labels, signal=signal))
    with pytest.raises(ConfigError, match=r"table: .[0-9a-f]{16}. there"):
        run_probe(other, tmp_path / "probe", ProbeSettings(label="emotion"))


def test_several_labels_in_several_processes(tmp_path: Path) -> None:
    labels, signal = two_classes()
    for index, own in enumerate(labels):
        own.update({"a.one": index // 20 % 2, "a.two": int(own["emotion"] == "happy")})
    dump = FeatureDump(write_labelled(tmp_path / "dump", labels, signal=signal))
    settings = ProbeSettings(label="a.*", folds=3)
    apart = run_probe(dump, tmp_path / "apart", settings, jobs=2)
    alone = run_probe(dump, tmp_path / "alone", settings)
    np.testing.assert_array_equal(apart.predictions["features"].scores, alone.predictions["features"].scores)
    assert set(apart.predictions["features"].label.names) == {"a.one", "a.two"}
    outcome = measure_probe(apart, draws=100)
    assert [row.kind for row in outcome.rows("features")] == ["macro", "micro", "label", "label"]
    assert "## By label" in card_of(outcome)
    assert list(load_heads(tmp_path / "apart").heads) == ["a.one", "a.two"]


def test_a_rare_label_is_left_out_of_small_shares_and_named(tmp_path: Path) -> None:
    """In all folds or in none, and the same again when nothing is left to compute."""
    labels, signal = two_classes(80, people=40, split=False)
    for index, own in enumerate(labels):
        own["a.half"] = int(own["emotion"] == "happy")
        if index % 40 < 10:  # few people have this label: a tenth of them is one
            own["a.rare"] = index % 2
    dump = FeatureDump(write_labelled(tmp_path / "dump", labels, signal=signal))
    settings = ProbeSettings(label="a.*", folds=2, ratios=(0.1, 1.0), seeds=1)
    found = run_probe(dump, tmp_path / "probe", settings)
    lacking = "left out of features at ratio 0.1, seed 0: a.rare, of which a class has no example in so small a share"
    assert lacking in found.notes
    predictions = found.predictions["features"]
    small = predictions.take(predictions.ratio == 0.1)
    assert {small.label.names[code] for code in small.label.used()} == {"a.half"}
    assert run_probe(dump, tmp_path / "probe", settings).notes == found.notes
    with pytest.raises(ConfigError, match="do not all have an example among them; use a larger ratio"):
        run_probe(dump, tmp_path / "one", ProbeSettings(label="a.half", folds=2, ratios=(0.02, 1.0), seeds=1))
    with pytest.raises(ConfigError, match=r"no label could be fitted for features at ratio 0\.02"):
        run_probe(dump, tmp_path / "none", ProbeSettings(label="a.*", folds=2, ratios=(0.02, 1.0), seeds=1))


def test_regression_and_its_card(tmp_path: Path) -> None:
    labels, signal = two_classes()
    for own, values in zip(labels, signal, strict=True):
        own["valence"] = float(values[0] + 0.1)
    dump = FeatureDump(write_labelled(tmp_path / "dump", labels, signal=signal))
    found = run_probe(dump, tmp_path / "probe", ProbeSettings(label="valence", folds=3))
    outcome = measure_probe(found, draws=100)
    assert (outcome.headline("features")["ccc"].value or 0) > 0.9
    assert "| predicted from | CCC | pearson | MAE |" in card_of(outcome)


def test_results_are_plain_json_with_everything_that_made_them(dump: FeatureDump, tmp_path: Path) -> None:
    found = probe(dump, tmp_path)
    values = json.loads(write_results(measure_probe(found, draws=100)).read_text())
    assert values["settings"] == json.loads(json.dumps(asdict(found.settings)))
    assert values["data"]["weights"] == "untrained:0"
    assert set(values["data"]["hashes"]) == {"table", "dump", "against"}
    assert set(values["arms"]) == {"features", "metadata", "shuffled", "majority"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 3, "leave_one_group_out": True}, "exclude each other"),
        ({"ratios": ()}, "expected numbers of more than 0"),
        ({"ratios": (0.5, 1.5)}, "expected numbers of more than 0"),
        ({"ratios": (0.5, 0.5)}, "expected each once"),
        ({"seeds": 0}, "expected 1 to 1000"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProbeSettings(label="x", **settings)


def test_a_folder_that_cannot_be_written(dump: FeatureDump, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatureFileError, match="cannot write to"):
        run_probe(dump, tmp_path / "file" / "probe", ProbeSettings(label="emotion"))


def test_a_folder_of_something_else_is_left_alone(dump: FeatureDump, tmp_path: Path) -> None:
    (tmp_path / "probe").mkdir()
    (tmp_path / "probe" / "README.md").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"holds 'README\.md', which is not of a probe"):
            run_probe(dump, tmp_path / "probe", ProbeSettings(label="emotion"), overwrite=overwrite)
    with pytest.raises(ConfigError, match="which is not of a probe"):
        run_probe(dump, dump.folder, ProbeSettings(label="emotion"), overwrite=True)
    assert (tmp_path / "probe" / "README.md").read_text() == "mine"


def test_balanced_noise_is_no_leak_whatever_the_folds(tmp_path: Path) -> None:
    """Over pooled folds a constant is worse than chance, and is no yardstick."""
    labels, _ = two_classes(60, people=20)
    noise = FeatureDump(write_labelled(tmp_path / "dump", labels, seed=3))
    outcome = measure_probe(probe(noise, tmp_path, leave_one_group_out=True), draws=200)
    assert (outcome.headline("majority")["balanced_accuracy"].value or 0) < 0.2
    assert outcome.suspicions == []


@pytest.mark.parametrize("rare", [3, 5])
def test_shuffled_labels_of_a_rare_class_can_be_learned(tmp_path: Path, rare: int) -> None:
    labels, signal = two_classes(60, people=30, split=False)
    for index, own in enumerate(labels):
        if index % 30 < rare:
            own["emotion"] = "sad"
    dump = FeatureDump(write_labelled(tmp_path / "dump", labels, signal=signal))
    for head in ("logistic", "attentive"):
        settings = ProbeSettings(label="emotion", folds=2, head=head, seeds=1)
        found = run_probe(dump, tmp_path / head, settings)
        assert len(found.predictions["shuffled"]) == 60


def test_windows_as_rows(dump: FeatureDump, tmp_path: Path) -> None:
    """Every window is predicted, a video's stay together, and its score is their mean."""
    found = probe(dump, tmp_path, folds=4, pooling="none")
    predictions = found.predictions["features"]
    assert len(predictions) == 3 * len(dump)
    assert sorted(set(predictions.window.tolist())) == [0, 1, 2]
    folds_of: dict[str, set[int]] = {}
    for id, fold in zip(predictions.id.to_array().tolist(), predictions.fold.tolist(), strict=True):
        folds_of.setdefault(id, set()).add(fold)
    assert all(len(folds) == 1 for folds in folds_of.values())
    outcome = measure_probe(found, draws=200)
    assert outcome.rows("features")[0].videos == len(dump)
    assert found.facts["videos"] == len(dump)
    assert "windows" not in " ".join(found.notes)
    heads, features = load_heads(tmp_path / "probe"), dump["v000"]
    whole = heads.scores(features)["emotion"]
    single = heads.scores_of([features[np.array([index])] for index in range(3)])["emotion"]
    np.testing.assert_allclose(whole, single.mean(axis=0))


def test_heads_to_use_are_fitted_once(dump: FeatureDump, tmp_path: Path) -> None:
    probe(dump, tmp_path)
    written = (tmp_path / "probe" / "head.json").stat().st_mtime_ns
    probe(dump, tmp_path)
    assert (tmp_path / "probe" / "head.json").stat().st_mtime_ns == written
    run_probe(dump, tmp_path / "probe", ProbeSettings(label="emotion", head="knn"), overwrite=True)
    assert load_heads(tmp_path / "probe").name == "knn"
