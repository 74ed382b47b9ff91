from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.probe.splits import inner_folds, low_data_subset, make_folds
from marlin_sdk.evaluation.probe.targets import Target


def samples_of(groups: list[str], splits: list[str] | None = None) -> Samples:
    count = len(groups)
    return Samples(
        ids=np.array([f"v{index}" for index in range(count)]),
        features=np.zeros((count, 2), np.float32),
        ends=np.empty(0, np.int64),
        windows=np.full(count, -1, np.int32),
        labels=({},) * count,
        groups=np.array(groups),
        splits=np.array(splits or [""] * count),
        metadata=np.zeros((count, 6), np.float32),
        weights="untrained:0",
        settings={},
    )


def classes(*values: int) -> Target:
    names = tuple(f"c{value}" for value in range(max(values) + 1))
    return Target("label", "classification", names, np.array(values, np.int64), sum(value < 0 for value in values))


def test_split_of_the_table_is_taken_and_val_is_not_trained_on() -> None:
    samples = samples_of(list("abcdef"), ["train", "Train", "valid", "TEST", "test", "train"])
    (fold,) = make_folds(samples, classes(0, 1, 0, 0, 1, -1))
    assert fold.train.tolist() == [0, 1]
    assert {part: rows.tolist() for part, rows in fold.held_out.items()} == {"val": [2], "test": [3, 4]}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["", "", "", ""], "no label `split`.*--folds 5"),
        (["train", "train", "test", "tset"], "split of v3 is 'tset'; expected train, val or test"),
        (["train", "train", "train", "val"], "in the split 'test'; give --folds 5"),
        (["train", "test", "train", "test"], r"group 'a' is in the splits 'train' and 'test' \(2 groups"),
        (["train", "train", "test", "test"], "all videos of the test part are 'c1'.*--folds 5"),
    ],
)
def test_splits_that_cannot_be_used_say_why(splits: list[str], message: str) -> None:
    samples = samples_of(list("aabb"), splits)
    values = (0, 1, 1, 1) if "all videos of the test" in message else (0, 1, 0, 1)
    with pytest.raises(ConfigError, match=message):
        make_folds(samples, classes(*values))


def test_table_without_a_class_in_train_is_refused() -> None:
    samples = samples_of(list("abcd"), ["train", "train", "test", "test"])
    with pytest.raises(ConfigError, match="the training part of fold 0 has no video of the class 'c1'"):
        make_folds(samples, classes(0, 0, 0, 1))


@given(seed=st.integers(0, 50), folds=st.integers(2, 4))
def test_folds_are_disjoint_by_group_and_test_every_video_once(seed: int, folds: int) -> None:
    random = np.random.default_rng(seed)
    groups = [f"g{value}" for value in random.integers(0, 12, 60)]
    target = classes(*(int(value) for value in random.integers(0, 2, 60)))
    samples = samples_of(groups)
    found = make_folds(samples, target, folds=folds, seed=seed)
    assert sorted(np.concatenate([fold.held_out["test"] for fold in found]).tolist()) == list(range(60))
    for fold in found:
        assert not set(samples.groups[fold.train]) & set(samples.groups[fold.held_out["test"]])


def test_leaving_groups_out_makes_a_fold_of_each() -> None:
    found = make_folds(samples_of(list("abcabc")), classes(0, 1, 0, 1, 0, 1), leave_one_group_out=True)
    assert [fold.held_out["test"].tolist() for fold in found] == [[0, 3], [1, 4], [2, 5]]
    with pytest.raises(ConfigError, match="all videos are of one group"):
        make_folds(samples_of(list("aaaa")), classes(0, 1, 0, 1), leave_one_group_out=True)


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(ConfigError, match="folds is 5; expected 2 to the number of groups, 3"):
        make_folds(samples_of(list("abcabc")), classes(0, 1, 0, 1, 0, 1), folds=5)


@given(
    sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 4)), min_size=8, max_size=30),
    seed=st.integers(0, 9),
    ratios=st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.9, 1.0]), min_size=2, max_size=4, unique=True),
)
def test_shares_are_nested_whole_groups_and_have_every_class(
    sizes: list[tuple[int, int]], seed: int, ratios: list[float]
) -> None:
    values = [min(value, 1) for value, count in sizes for _ in range(count)]
    assume(len(set(values)) == 2)
    groups = [f"g{index}" for index, (_, count) in enumerate(sizes) for _ in range(count)]
    samples, target, rows = samples_of(groups), classes(*values), np.arange(len(groups))
    previous: set[int] = set()
    for ratio in sorted(ratios):
        number = math.ceil(ratio * len(sizes) - 1e-9)
        if number < 2:
            with pytest.raises(ConfigError, match="use a larger ratio"):
                low_data_subset(samples, target, rows, ratio=ratio, seed=seed)
            continue
        kept = low_data_subset(samples, target, rows, ratio=ratio, seed=seed)
        assert previous <= set(kept.tolist())
        previous = set(kept.tolist())
        inside = set(samples.groups[kept])
        assert len(inside) == number
        assert set(rows[[group in inside for group in groups]]) == previous  # whole groups
        assert set(target.values[kept]) == {0, 1}


def test_another_seed_is_another_share_and_shares_are_stratified() -> None:
    groups = [f"g{index}" for index in range(200)]
    values = [int(index % 4 == 0) for index in range(200)]
    samples, target, rows = samples_of(groups), classes(*values), np.arange(200)
    first = low_data_subset(samples, target, rows, ratio=0.2, seed=0)
    other = low_data_subset(samples, target, rows, ratio=0.2, seed=1)
    assert set(first.tolist()) != set(other.tolist())
    assert target.values[first].sum() == 10


@given(seed=st.integers(0, 30))
def test_inner_folds_are_by_group_and_have_every_class(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = [f"g{value}" for value in random.integers(0, 10, 40)]
    target = classes(*(int(value) for value in random.integers(0, 3, 40)))
    samples, rows = samples_of(groups), np.arange(40)[random.random(40) < 0.8]
    for fit, held in inner_folds(samples, target, rows):
        assert not set(samples.groups[rows[fit]]) & set(samples.groups[rows[held]])
        assert set(target.values[rows[fit]]) == set(target.values[rows[held]]) == set(target.values[rows])


def test_no_inner_folds_where_a_class_has_one_group() -> None:
    samples, target = samples_of(list("abcabc")), classes(0, 1, 0, 0, 1, 0)
    assert inner_folds(samples, target, np.arange(6)) == []


def test_folds_of_few_numbers_and_of_small_classes() -> None:
    numbers = Target("x", "regression", (), np.arange(6.0), 0)
    assert len(make_folds(samples_of(list("abcdef")), numbers, folds=3)) == 3
    with pytest.raises(ConfigError, match="folds is 4, and no class of 'label' has more than 3 videos"):
        make_folds(samples_of(list("abcdef")), classes(0, 1, 0, 1, 0, 1), folds=4)
