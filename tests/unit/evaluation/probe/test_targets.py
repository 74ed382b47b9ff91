from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.unit.evaluation.probe.test_splits import samples_of

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.probe.targets import choose_targets


def labelled(*labels: dict[str, Any], groups: list[str] | None = None) -> Samples:
    names = groups or [f"g{index}" for index in range(len(labels))]
    return replace(samples_of(names), labels=labels)


@pytest.mark.parametrize(
    ("values", "kind", "classes"),
    [
        (["b", "a", "b", "a"], "classification", ("a", "b")),
        ([True, False, True, False], "classification", ("false", "true")),
        ([0, 1, 1, 0], "classification", ("0", "1")),
        ([0.5, 1.0, 2.5, 0.0], "regression", ()),
        ([1, 2.5, 3, 1], "regression", ()),
    ],
)
def test_type_of_a_label_decides(values: list[Any], kind: str, classes: tuple[str, ...]) -> None:
    (target,), _ = choose_targets(labelled(*({"x": value} for value in values)), "x")
    assert (target.kind, target.classes, target.missing) == (kind, classes, 0)


def test_kind_can_be_said() -> None:
    (target,), _ = choose_targets(labelled(*({"x": value} for value in (0, 1, 2, 3))), "x", kind="regression")
    assert target.values.tolist() == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="kind is 'ranking'; expected classification or regression"):
        choose_targets(labelled({"x": 1}), "x", kind="ranking")  # type: ignore[arg-type]


def test_missing_labels_are_counted_and_not_labelled() -> None:
    (target,), _ = choose_targets(labelled({"x": "a"}, {}, {"x": "b"}, {"x": "a"}, {"x": "b"}), "x")
    assert target.missing == 1
    assert target.labelled.tolist() == [True, False, True, True, True]
    assert target.values.tolist() == [0, -1, 1, 0, 1]


def test_a_pattern_is_several_labels() -> None:
    rows = [{"look.old": index % 2, "look.glad": index // 2 % 2, "other": 1.5} for index in range(8)]
    targets, notes = choose_targets(labelled(*rows), "look.*")
    assert [target.name for target in targets] == ["look.glad", "look.old"]
    assert notes == ()


def test_a_column_that_cannot_be_probed_does_not_end_a_pattern() -> None:
    rows = [{"a.same": 1, "a.rare": int(index == 0), "a.good": index % 2} for index in range(6)]
    (target,), notes = choose_targets(labelled(*rows), "a.*")
    assert target.name == "a.good"
    assert [note.partition(": label ")[2].partition(":")[0].split()[0] for note in notes] == ["'a.rare'", "'a.same'"]
    with pytest.raises(ConfigError, match="none of the 2 columns"):
        choose_targets(labelled(*({name: own[name] for name in ("a.same", "a.rare")} for own in rows)), "a.*")


@pytest.mark.parametrize(
    ("rows", "label", "message"),
    [
        ([{"x": "a"}, {"x": "b"}], "y", "no label column is named or matches 'y'; the dump has x"),
        ([{"split": "train"}] * 2, "split", "none: extract with --table"),
        ([{"x": "a"}] * 3, "x", "'x' is 'a' for every video"),
        ([{"x": 1.5}] * 3, "x", "'x' is 1.5 for every video"),
        ([{"x": "a"}, {"x": "a"}, {"x": "b"}], "x", r"only one group \('g2'\) has the class 'b'"),
        ([{"x": str(index)} for index in range(120)] * 2, "x", "has 120 classes, such as 0, 1, 10.*--kind regression"),
        ([{"a.x": 1.5, "a.y": 1}, {"a.x": 2.5, "a.y": 0}] * 2, "a.*", "'a.x', a regression, and 'a.y', a classif"),
        ([{"a.x": True, "a.y": "yes"}, {"a.x": False, "a.y": "no"}] * 2, "a.*", "must be written in one way"),
        ([{"a.x": "p", "a.y": 1}, {"a.x": "q", "a.y": 0}, {"a.x": "r", "a.y": 0}] * 2, "a.*", "'a.x' has 3 classes"),
    ],
)
def test_labels_that_cannot_be_probed_say_why(rows: list[dict[str, Any]], label: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_targets(labelled(*rows), label)


def test_text_is_no_number() -> None:
    with pytest.raises(ConfigError, match="holds 'a', which is no number"):
        choose_targets(labelled({"x": "a"}, {"x": 1}), "x", kind="regression")


def test_labels_are_written_as_they_are_named() -> None:
    (target,), _ = choose_targets(labelled(*({"x": value} for value in (True, False, True, False))), "x")
    texts = target.texts(np.array([0, 1]))
    assert list(texts.to_array()) == ["true", "false"]  # type: ignore[union-attr]


def test_some_classes_alone() -> None:
    rows = [{"x": "happy"}, {"x": "angry"}, {"x": "happy"}, {"x": "sad"}, {"x": "sad"}, {}]
    (target,), _ = choose_targets(labelled(*rows), "x", classes=("happy", "sad"))
    assert target.classes == ("happy", "sad")
    assert target.values.tolist() == [0, -1, 0, 1, 1, -1]
    assert target.missing == 2
    with pytest.raises(ConfigError, match="has no class 'glad'; it has angry, happy, sad"):
        choose_targets(labelled(*rows), "x", classes=("glad",))
    with pytest.raises(ConfigError, match="of one label column, and 2 are chosen"):
        choose_targets(labelled({"a.x": 1, "a.y": 0}, {"a.x": 0, "a.y": 1}), "a.*", classes=("0",))
