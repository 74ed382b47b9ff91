"""What is known of a video besides its features: labels, each an integer, a number, a truth value or a text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

from marlin_sdk.errors import ConfigError

__all__ = [
    "MAX_INT",
    "Label",
    "LabelType",
    "as_type",
    "common_type",
    "is_label",
    "parse_column",
    "same_labels",
    "type_of",
]

Label: TypeAlias = int | float | bool | str
LabelType = Literal["int", "float", "bool", "text"]

MAX_INT = 2**53
"""The largest integer label: larger ones, which a float64 and JavaScript round, are names, and stay text."""

_INT = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)
_FLOAT = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


def type_of(value: Label) -> LabelType:
    """The type of a label."""
    if isinstance(value, bool):
        return "bool"
    return "int" if isinstance(value, int) else "float" if isinstance(value, float) else "text"


def is_label(value: object) -> bool:
    """Whether a value can be a label: text, a truth value, a finite number, or an integer of at most 2**53."""
    if isinstance(value, int):
        return -MAX_INT <= value <= MAX_INT
    return isinstance(value, str) or (isinstance(value, float) and math.isfinite(value))


def common_type(types: Iterable[LabelType]) -> LabelType | None:
    """The type that holds all of these without a loss: integers among numbers are numbers; None if there is none."""
    found = set(types)
    if found == {"int", "float"}:
        return "float"
    return found.pop() if len(found) == 1 else None


def as_type(value: Label, kind: LabelType) -> Label:
    """A label as a value of a type that holds it: an integer as a number, anything as text."""
    if kind == "text":
        return str(value)
    return float(value) if kind == "float" and type_of(value) == "int" else value


def same_labels(one: Mapping[str, Label], other: Mapping[str, Label]) -> bool:
    """Whether labels are equal, and of the same types: 1, 1.0 and True are equal in Python."""
    return one == other and all(type(value) is type(other[name]) for name, value in one.items())


def parse_column(cells: Sequence[str], column: str, *, first_line: int = 2) -> list[Label | None]:
    """Give the cells of a column of text the one type that all of them have.

    Only integers are int; numbers are float; true and false, in any case, are bool; anything else is text. So are
    integers with leading zeros ("007") and those above 2**53, because they are names: as numbers they would be others.

    Args:
        cells: text; an empty cell, or one of spaces, is no label.
        column: its name, for the error message.
        first_line: line of the first cell, for the error message.
    Returns:
        A label per cell; None where it is empty.
    Raises:
        ConfigError: nan or inf among numbers: neither is a number that can be learnt from.
    """
    texts = [cell.strip() for cell in cells]
    filled = [text for text in texts if text]
    if all(_INT.fullmatch(text) and abs(int(text[:20])) <= MAX_INT for text in filled):
        return [int(text) if text else None for text in texts]
    if all(text.lower() in ("true", "false") for text in filled):
        return [text.lower() == "true" if text else None for text in texts]
    if all(_is_number(text) or _NOT_FINITE.fullmatch(text) for text in filled):
        for line, text in enumerate(texts, start=first_line):
            if text and not math.isfinite(float(text)):
                raise ConfigError(
                    f"{column}, line {line}: {text!r} among numbers; leave the cell empty if the value is unknown"
                )
        return [float(text) if text else None for text in texts]
    return [cell if text else None for cell, text in zip(cells, texts, strict=True)]


def _is_number(text: str) -> bool:
    if _INT.fullmatch(text):
        return abs(int(text[:20])) <= MAX_INT
    return _FLOAT.fullmatch(text) is not None
