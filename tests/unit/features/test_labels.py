"""The types of labels."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk.errors import ConfigError
from marlin_sdk.features.labels import MAX_INT, common_type, is_label, parse_column, same_labels, type_of

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.integers(-MAX_INT, MAX_INT), min_size=1))
def test_integers_come_back_as_they_were(values: list[int]) -> None:
    assert parse_column([str(value) for value in values], "x") == values


@given(st.lists(FINITE, min_size=1))
def test_numbers_come_back_as_they_were(values: list[float]) -> None:
    found = parse_column([repr(value) for value in values], "x")
    assert found == values
    assert all(type(value) is float for value in found)


@given(st.lists(st.text()))
def test_whatever_stands_in_a_column_its_labels_are_of_one_type_and_valid(cells: list[str]) -> None:
    found = parse_column(cells, "x")
    assert len(found) == len(cells)
    assert all((value is None) == (not cell.strip()) for value, cell in zip(found, cells, strict=True))
    labels = [value for value in found if value is not None]
    assert len({type_of(value) for value in labels}) <= 1
    assert all(is_label(value) for value in labels)
    assert json.loads(json.dumps(labels)) == labels


@pytest.mark.parametrize(
    "cell", ["007", "1_000", "0x10", "9007199254740993", "1" * 5000, "1,5", "nanny", "yes", "\u0663"]
)
def test_what_is_no_plain_number_is_text_and_so_is_its_column(cell: str) -> None:
    assert parse_column([cell, "1"], "x") == [cell, "1"]


@pytest.mark.parametrize("cell", ["nan", "NaN", "-inf", "Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused_unless_the_column_is_text(cell: str) -> None:
    with pytest.raises(ConfigError, match=f"mood, line 3: '{cell}' among numbers"):
        parse_column(["1", cell], "mood")
    assert parse_column(["Ann", cell], "x") == ["Ann", cell]


def test_integers_among_numbers_are_numbers_and_nothing_else_mixes() -> None:
    assert common_type(["int", "float", "int"]) == "float"
    assert common_type(["bool", "bool"]) == "bool"
    assert common_type(["text", "int"]) is common_type(["bool", "int"]) is None


def test_equal_labels_of_other_types_are_not_the_same() -> None:
    assert same_labels({"x": 1}, {"x": 1})
    assert not same_labels({"x": 1}, {"x": True})
    assert not same_labels({"x": 1}, {"x": 1.0})
    assert not same_labels({"x": 1}, {})


@pytest.mark.parametrize("value", [math.nan, math.inf, MAX_INT + 1, None, [1], {}])
def test_other_values_are_no_labels(value: object) -> None:
    assert not is_label(value)
