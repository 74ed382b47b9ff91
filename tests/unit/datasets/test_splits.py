"""Splits by a seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marlin_sdk.datasets import Clip
from marlin_sdk.datasets.splits import seeded, straddling
from marlin_sdk.datasets.table import Label
from marlin_sdk.errors import ConfigError


def clip(index: int, group: str, label: Label = "x") -> Clip:
    return Clip(Path("a.mp4"), str(index), labels={"label": label}, group=group)


def people(count: int, each: int = 5) -> list[Clip]:
    """So many people with clips of two labels, three to two."""
    return [
        clip(each * person + k, f"p{person}", "a" if k < 3 else "b") for person in range(count) for k in range(each)
    ]


def test_parts_are_eight_to_one_to_one_with_labels_in_equal_shares() -> None:
    split = seeded(people(100), ["label"], seed=0)
    assert Counter(clip.split for clip in split) == {"train": 400, "val": 50, "test": 50}
    assert Counter((clip.split, clip.labels["label"]) for clip in split)["test", "a"] == 30


@given(groups=st.lists(st.integers(0, 9), min_size=3, max_size=60), seed=st.integers(0, 99))
@settings(max_examples=60)
def test_no_group_is_on_both_sides_and_all_three_parts_are_there(groups: list[int], seed: int) -> None:
    clips = [clip(index, f"p{group}", group % 3) for index, group in enumerate(groups)]
    if len(set(groups)) < 3:
        with pytest.raises(ConfigError, match="groups cannot make train, val and test"):
            seeded(clips, ["label"], seed=seed)
        return
    split = seeded(clips, ["label"], seed=seed)
    assert straddling(split) == []
    assert {clip.split for clip in split} == {"train", "val", "test"}
    assert [clip.id for clip in split] == [clip.id for clip in clips]


def test_the_seed_decides() -> None:
    clips = people(50)
    assert seeded(clips, ["label"], seed=3) == seeded(clips, ["label"], seed=3)
    assert seeded(clips, ["label"], seed=3) != seeded(clips, ["label"], seed=4)
    with pytest.raises(ConfigError, match="seed=-1"):
        seeded(clips, ["label"], seed=-1)


def test_a_clip_without_group_is_a_group_of_its_own() -> None:
    split = seeded([clip(index, "") for index in range(100)], ["label"], seed=0)
    assert Counter(clip.split for clip in split) == {"train": 80, "val": 10, "test": 10}


def test_one_large_group_is_for_training() -> None:
    clips = [*(clip(index, "large") for index in range(300)), *(clip(300 + index, f"p{index}") for index in range(20))]
    assert {one.split for one in seeded(clips, ["label"], seed=0) if one.group == "large"} == {"train"}


def test_of_many_attributes_the_rarest_is_balanced() -> None:
    clips = [
        Clip(Path("a.mp4"), str(index), labels={"common": index % 2 == 0, "rare": index < 20}) for index in range(200)
    ]
    split = seeded(clips, ["common", "rare"], seed=0)
    assert Counter(clip.split for clip in split if clip.labels["rare"]) == {"train": 16, "val": 2, "test": 2}


def test_classes_too_rare_to_balance_are_no_warning() -> None:
    labels = [*["a"] * 50, *["b"] * 3, "c", *["d"] * 4, *["e"] * 4]
    seeded([clip(index, "", label) for index, label in enumerate(labels)], ["label"], seed=0)
    seeded([clip(index, "", label) for index, label in enumerate("abcdefghij")], ["label"], seed=0)


def test_straddling_groups_are_named() -> None:
    clips = [
        Clip(Path("a"), str(index), split=split, group=group)
        for index, (split, group) in enumerate(
            [("train", "a"), ("test", "a"), ("test", "b"), ("", "b"), ("train", ""), ("test", "")]
        )
    ]
    assert straddling(clips) == ["a"]
