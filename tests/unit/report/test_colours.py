"""Labels become colours of the map: few values as they are, many grouped, ids left out."""

from __future__ import annotations

from marlin_sdk.report.colours import MAX_VALUES, colour_by_labels


def labels(values: list[str], name: str = "emotion") -> dict[int, dict[str, str]]:
    return {index: {name: value} for index, value in enumerate(values)}


def test_values_are_coloured_the_most_frequent_first() -> None:
    (found,) = colour_by_labels(labels(["sad", "joy", "joy", "", "anger", "joy", "sad"]))
    assert (found.label, found.values, found.counts) == ("emotion", ("joy", "sad", "anger"), (3, 2, 1))
    assert dict(found.of) == {0: 1, 1: 0, 2: 0, 4: 2, 5: 0, 6: 1}  # the fourth video has none
    assert len(set(found.hues)) == 3


def test_each_label_is_a_choice() -> None:
    both = {0: {"split": "train", "emotion": "joy"}, 1: {"split": "val"}, 2: {"emotion": "sad"}}
    assert [found.label for found in colour_by_labels(both)] == ["split", "emotion"]


def test_one_value_and_ids_tell_nothing() -> None:
    assert colour_by_labels(labels(["train"] * 5)) == []
    assert colour_by_labels(labels([f"clip-{index}" for index in range(40)], "id")) == []
    assert colour_by_labels({}) == []
    assert colour_by_labels({0: {}}) == []


def test_rare_values_share_a_colour() -> None:
    (found,) = colour_by_labels(labels([chr(97 + index % 20) for index in range(100)]))
    assert len(found.values) == len(set(found.hues)) == MAX_VALUES
    assert found.values[-1] == "others"
    assert sum(found.counts) == 100
    assert found.counts[-1] == 5 * 9


def test_few_numbers_stay_in_order_and_many_become_ranges() -> None:
    (few,) = colour_by_labels(labels(["10", "2", "2", "-1"], "sentiment"))
    assert few.values == ("-1", "2", "10")
    (many,) = colour_by_labels(labels([str(index / 10) for index in range(60)], "arousal"))
    assert many.values == ("0 to 1", "1 to 2", "2 to 3", "3 to 4", "4 to 5", "5 to 5.9")
    assert many.counts == (10,) * 6
    assert many.of[59] == 5
    (skewed,) = colour_by_labels(labels(["0"] * 90 + [str(index) for index in range(20)], "count"))
    assert sum(skewed.counts) == 110


def test_numbers_that_are_none_are_words() -> None:
    (found,) = colour_by_labels(labels(["nan", "1", "inf", "1"]))
    assert found.values[0] == "1"
