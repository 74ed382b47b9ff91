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
    (target,) = choose_targets(labelled(*({"x": value} for value in values)), "x")
    assert (target.kind, target.classes, target.missing) == (kind, classes, 0)


def test_kind_can_be_said() -> None:
    (target,) = choose_targets(labelled(*({"x": value} for value in (0, 1, 2, 3))), "x", kind="regression")
    assert target.values.tolist() == [0, 1, 2, 3]
    with pytest.raises(ConfigError, match="kind is 'ranking'; expected classification or regression"):
        choose_targets(labelled({"x": 1}), "x", kind="ranking")  # type: ignore[arg-type]


def test_missing_labels_are_counted_and_not_labelled() -> None:
    (target,) = choose_targets(labelled({"x": "a"}, {}, {"x": "b"}, {"x": "a"}, {"x": "b"}), "x")
    assert target.missing == 1
    assert target.labelled.tolist() == [True, False, True, True, True]
    assert target.values.tolist() == [0, -1, 1, 0, 1]


def test_a_pattern_is_several_labels() -> None:
    rows = [{"look.old": index % 2, "look.glad": index // 2 % 2, "other": 1.5} for index in range(8)]
    assert [target.name for target in choose_targets(labelled(*rows), "look.*")] == ["look.glad", "look.old"]


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
    (target,) = choose_targets(labelled(*({"x": value} for value in (True, False, True, False))), "x")
    texts = target.texts(np.array([0, 1]))
    assert list(texts.to_array()) == ["true", "false"]  # type: ignore[union-attr]
