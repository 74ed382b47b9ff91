"""The split by identity: fixed, seeded, and disjoint."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk import ConfigError
from marlin_sdk.training.prepare.split import assign_splits, check_disjoint

names = st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=40)


@given(names, st.floats(0.01, 0.99), st.integers(0, 100))
def test_fraction_of_identities_is_held_out_and_neither_split_is_empty(
    found: set[str], share: float, seed: int
) -> None:
    sides = assign_splits(found, val_share=share, seed=seed)
    assert set(sides) == found
    held_out = list(sides.values()).count("val")
    assert held_out == min(max(1, round(share * len(found))), len(found) - 1)


@given(names, st.integers(0, 100), st.randoms())
def test_split_depends_only_on_names_and_seed(found: set[str], seed: int, random: Random) -> None:
    order = sorted(found)
    random.shuffle(order)
    assert assign_splits(order, val_share=0.3, seed=seed) == assign_splits(sorted(found), val_share=0.3, seed=seed)


def test_split_is_the_same_on_every_machine() -> None:
    sides = assign_splits([f"person {index}" for index in range(20)], val_share=0.2, seed=0)
    held_out = sorted(name for name, side in sides.items() if side == "val")
    assert held_out == [
        "person 0",
        "person 13",
        "person 3",
        "person 6",
    ]


def test_another_seed_makes_another_split() -> None:
    people = [f"person {index}" for index in range(20)]
    splits = {tuple(sorted(assign_splits(people, val_share=0.3, seed=seed).items())) for seed in range(10)}
    assert len(splits) == 10


@given(names, names, st.integers(0, 100))
def test_known_splits_are_retained_when_the_folder_grows(before: set[str], more: set[str], seed: int) -> None:
    known = assign_splits(before, val_share=0.3, seed=seed)
    grown = assign_splits(before | more, val_share=0.3, seed=seed, known=known)
    assert {name: grown[name] for name in before} == known
    assert set(grown) == before | more


def test_fraction_zero_holds_out_nobody() -> None:
    assert set(assign_splits(["a", "b"], val_share=0, seed=0).values()) == {"train"}
    assert assign_splits(["a"], val_share=0, seed=0) == {"a": "train"}


def test_one_identity_cannot_be_split() -> None:
    with pytest.raises(ConfigError, match=r"only one identity, 'a'.*--val-share 0"):
        assign_splits(["a", "a"], val_share=0.1, seed=0)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="val_share is"):
        assign_splits(["a", "b"], val_share=share, seed=0)


def test_identity_in_both_splits_is_refused_with_both_origins() -> None:
    rows = [("a", "train", "x"), ("b", "val", "y"), ("a", "train", "z"), ("b", "train", "w")]
    with pytest.raises(ConfigError, match=r"'b' is in both splits: val in y, train in w"):
        check_disjoint(rows)
    check_disjoint(rows[:3])
