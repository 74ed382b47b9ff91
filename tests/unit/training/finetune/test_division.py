"""Which clips are learned from, chosen by, and tested on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe.samples import METADATA, Samples
from marlin_sdk.evaluation.probe.splits import low_data_subset
from marlin_sdk.evaluation.probe.targets import choose_targets
from marlin_sdk.training.finetune.data.division import Division, divide

COUNT = 60


def samples(**columns: Any) -> Samples:
    """Sixty clips of thirty people, half of each mood."""
    return Samples(
        ids=np.array([f"c{index:02d}" for index in range(COUNT)]),
        features=np.empty((COUNT, 0), np.float32),
        ends=np.empty(0, np.int64),
        windows=np.full(COUNT, -1, np.int32),
        labels=tuple({"mood": "ab"[index % 2]} for index in range(COUNT)),
        groups=np.array([f"p{index // 2:02d}" for index in range(COUNT)]),
        splits=columns.get("splits", np.array([""] * COUNT)),
        metadata=np.zeros((COUNT, len(METADATA)), np.float32),
        weights="",
        settings={},
    )


def divided(made: Samples, **settings: Any) -> Division:
    return divide(made, choose_targets(made, "mood")[0], **{"seed": 0, **settings})


def groups(made: Samples, rows: Any) -> set[str]:
    return set(made.groups[rows].tolist())


def parts_of_table() -> Samples:
    splits = np.array(["train"] * 36 + ["val"] * 10 + ["test"] * 14)
    return samples(splits=splits)


def test_without_a_split_a_fifth_of_the_groups_is_tested_and_none_is_in_two_parts() -> None:
    made = samples()
    found = divided(made)
    parts = [groups(made, rows) for rows in (found.train, found.val, found.test)]
    assert [len(part) for part in parts] == [19, 5, 6]
    assert len(set.union(*parts)) == 30
    assert not found.own_val
    assert "a fifth of the groups, drawn by seed 0, is the test part" in found.notes[0]
    assert not np.array_equal(found.test, divided(made, seed=1).test)
    assert np.array_equal(found.test, divided(made).test)


def test_parts_of_the_table_are_taken() -> None:
    found = divided(parts_of_table())
    assert [len(rows) for rows in (found.train, found.val, found.test)] == [36, 10, 14]
    assert found.own_val
    assert found.notes == ()


def test_share_of_the_training_part_is_that_of_a_probe() -> None:
    made = parts_of_table()
    (target,) = choose_targets(made, "mood")[0]
    whole = divided(made)
    shares = {ratio: divided(made, ratio=ratio) for ratio in (0.2, 0.5)}
    for ratio, found in shares.items():
        expected = low_data_subset(made, target, whole.train, ratio=ratio, seed=0)
        assert np.array_equal(found.train, expected)
        assert np.array_equal(found.test, whole.test)
        assert np.array_equal(found.val, whole.val)
    assert set(shares[0.2].train.tolist()) < set(shares[0.5].train.tolist())


def test_group_on_both_sides_is_refused() -> None:
    made = parts_of_table()
    made.groups[0] = "p29"
    with pytest.raises(ConfigError, match=r"group 'p29' is in the splits 'train' and 'test'"):
        divided(made)


def test_class_without_a_training_clip_is_refused() -> None:
    made = parts_of_table()
    labels = tuple({"mood": "c" if index in (48, 52) else "ab"[index % 2]} for index in range(COUNT))
    with pytest.raises(ConfigError, match=r"label 'mood': the training part .* no video of the class 'c'"):
        divided(replace(made, labels=labels))


def test_class_of_few_groups_leaves_no_validation_part() -> None:
    made = samples(splits=np.array(["train"] * 46 + ["test"] * 14))
    labels = tuple({"mood": "c" if index in (0, 48) else "ab"[index % 2]} for index in range(COUNT))
    found = divided(replace(made, labels=labels))
    assert len(found.val) == 0
    assert found.notes == ("a class has too few groups for a validation part: the last weights are taken",)
