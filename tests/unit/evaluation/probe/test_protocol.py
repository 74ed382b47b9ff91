from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.evaluation.probe.probing import write_labelled

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe import protocol
from marlin_sdk.evaluation.probe.protocol import fit_marlin
from marlin_sdk.evaluation.probe.run import Probe, ProbeSettings, run_probe
from marlin_sdk.evaluation.probe.samples import Samples, read_samples
from marlin_sdk.evaluation.probe.targets import Target

COUNT = 60


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two thousand epochs at a rate of 1e-4 take half a minute."""
    monkeypatch.setattr(protocol, "_EPOCHS", 60)
    monkeypatch.setattr(protocol, "_RATE", 0.02)


@pytest.fixture
def dump(tmp_path: Path) -> FeatureDump:
    """Two attributes, of which the features know the first; a person a video, and no label `b` for the first ten."""
    random = np.random.default_rng(0)
    labels = []
    for index in range(COUNT):
        own = {
            "look.a": index % 2 == 0,
            "group": f"p{index}",
            "split": ("train", "train", "val", "test")[index // 2 % 4],
        }
        labels.append(own | ({} if index < 10 else {"look.b": bool(random.random() < 0.5)}))
    signal = np.array([[2.0 if own["look.a"] else -2.0] for own in labels])
    return FeatureDump(write_labelled(tmp_path / "dump", labels, signal=signal))


def probe(dump: FeatureDump, folder: Path, label: str, **settings: int) -> Probe:
    return run_probe(dump, folder, ProbeSettings(label=label, head="marlin", **settings))  # type: ignore[arg-type]


def target(samples: Samples, name: str) -> Target:
    values = [-1 if own.get(name) is None else int(own[name]) for own in samples.labels]
    return Target(name, "classification", ("false", "true"), np.array(values, np.int64), 0)


def test_all_labels_are_learned_in_one_layer_of_videos_that_have_them(dump: FeatureDump, tmp_path: Path) -> None:
    predictions = probe(dump, tmp_path / "probe", "look.*").predictions["features"]
    of_a, of_b = (predictions.take(predictions.label.recode([name]) == 0) for name in ("look.a", "look.b"))
    assert of_a.id.to_array().tolist() == of_b.id.to_array().tolist()
    assert not {f"v{index:03d}" for index in range(10)} & set(of_a.id.to_array().tolist())
    test = of_a.split.recode(["test"]) == 0
    right = (of_a.scores[test, 0] >= 0.5) == (of_a.y_true[test] == 1)
    assert right.mean() > 0.8


def test_the_epoch_is_chosen_on_the_validation_part(dump: FeatureDump) -> None:
    """With that part's labels turned, the worst epoch is taken: an early one."""
    samples = read_samples(dump)
    a = target(samples, "look.a")
    train, val = (np.flatnonzero(samples.splits == part) for part in ("train", "val"))
    turned = a.values.copy()
    turned[val] = 1 - turned[val]
    weights = [
        fit_marlin(samples, [Target("look.a", "classification", a.classes, values, 0)], train, val)[0].weight
        for values in (a.values, turned)
    ]
    assert weights[0][0, 0] > weights[1][0, 0] + 0.2
    one_class = val[a.values[val] == a.values[val][0]]
    (head,) = fit_marlin(samples, [a], train, one_class)
    assert "one class, so that the last epoch" in head.notes[0]


def test_without_val_a_tenth_of_the_groups_is_the_validation_part(dump: FeatureDump) -> None:
    samples = read_samples(dump)
    rows = np.arange(COUNT)
    train, held = protocol._tenth(samples, rows, 0)
    assert sorted([*train, *held]) == rows.tolist()
    assert len(held) == COUNT // 10
    with pytest.raises(ConfigError, match="the training part is one group"):
        fit_marlin(samples, [target(samples, "look.a")], rows[:1], None)


def test_other_labels_are_refused(dump: FeatureDump, tmp_path: Path) -> None:
    labels = [{"mood": ("x", "y", "z")[index % 3], "size": index + 0.5, "group": f"p{index}"} for index in range(12)]
    three = FeatureDump(write_labelled(tmp_path / "three", labels))
    with pytest.raises(ConfigError, match="for labels of two classes; 'mood' has 3"):
        probe(three, tmp_path / "a", "mood", folds=2)
    with pytest.raises(ConfigError, match="'size' has numbers"):
        probe(three, tmp_path / "b", "size", folds=2)
