"""Columns of predictions: from arrays, lists or one value for all rows; and several of them as one key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlin_sdk.errors import PredictionsError
from marlin_sdk.evaluation.texts import Texts

__all__ = ["matrix", "number", "row_keys", "some", "truth"]

_WIDE = 1 << 32


def matrix(scores: Mapping[str, ArrayLike], rows: int) -> NDArray[Any]:
    """The scores of all classes, float32 or float64 [N, C].

    Raises:
        PredictionsError: there are none, or one is not a number per row.
    """
    columns = []
    for name, values in scores.items():
        column = np.asarray(values)
        if column.shape != (rows,) or column.dtype.kind not in "fiu":
            raise PredictionsError(
                f"score_{name} is {column.dtype} {list(column.shape)}, and a number per row is expected ([{rows}])"
            )
        columns.append(column if column.dtype == np.float32 else column.astype(np.float64))
    if not columns:
        raise PredictionsError("no scores: at least one score_* is needed")
    return np.stack(columns, axis=1)


def truth(y_true: Texts | ArrayLike, names: tuple[str, ...]) -> tuple[tuple[str, ...], NDArray[Any]]:
    """The classes, of which the second of two is positive, and the true values as indices into them.

    A regression, which is one score named `value` with numbers in `y_true`, has no classes.

    Raises:
        PredictionsError: the classes in `y_true` do not fit the scores.
    """
    values = y_true if isinstance(y_true, Texts) else np.asarray(y_true)
    if not isinstance(values, Texts) and values.dtype.kind in "fiu" and names == ("value",):
        return (), values.astype(np.float64)
    if not isinstance(values, Texts) and values.dtype.kind == "f":
        raise PredictionsError(
            f"y_true is {values.dtype}, which means a regression with the one column score_value, but the scores are "
            f"of {list(names)}: write classes as int, bool or text"
        )
    if not isinstance(values, Texts):
        if values.dtype.kind == "b":
            names = tuple(name.lower() for name in names)  # pandas names columns score_True
            values = Texts.of([str(value).lower() for value in values.tolist()])
        else:
            values = Texts.of(values)
    present = [values.names[code] for code in values.used()]
    if len(names) > 1:
        classes = names
    else:
        # one part of a whole may show one class only: `Texts` may know the other by name
        named = values.names if len(values.names) == 2 else present
        others = [name for name in named if name != names[0]]
        if len(others) > 1:
            raise PredictionsError(
                f"y_true has the classes {some(present)}, and the only score is score_{names[0]}: one score means two "
                f"classes, of which {names[0]!r} is positive; give every class its column, or rename score_{names[0]}"
            )
        classes = (others[0] if others else f"not {names[0]}", names[0])
    unknown = [name for name in present if name not in classes]
    if unknown:
        raise PredictionsError(f"y_true has {some(unknown)}, and the scores are of {some(classes)}")
    return classes, values.recode(classes)


def some(names: Sequence[str]) -> str:
    """The first ten names, for messages."""
    shown = ", ".join(map(repr, names[:10]))
    return shown if len(names) <= 10 else f"{shown} and {len(names) - 10:,} more"


def number(name: str, values: ArrayLike, rows: int, kind: type) -> NDArray[Any]:
    """A column of numbers; a single number is repeated.

    Raises:
        PredictionsError: they are of another kind, or do not fit.
    """
    column, dtype = np.asarray(values), np.dtype(kind)
    if column.dtype.kind not in ("iu" if dtype.kind == "i" else "iuf"):
        raise PredictionsError(f"column {name!r} is {column.dtype}, and {dtype.name} is expected")
    converted = column.astype(dtype)
    if not np.array_equal(converted, column):
        raise PredictionsError(f"column {name!r} has values that do not fit in {dtype.name}, or NaN")
    return np.full(rows, converted) if not column.ndim else converted


def row_keys(*columns: NDArray[Any]) -> NDArray[np.int64]:
    """A number per row, the same for rows that are equal in all columns, and in the order of the columns otherwise.

    Args:
        columns: numbers [N], the most significant column first.
    """
    keys, size = np.zeros(len(columns[0]), np.int64), 1
    if not len(keys):
        return keys
    for column in columns:
        low, high = column.min(), column.max()
        dense = column
        if column.dtype.kind == "f" or int(high) - int(low) >= _WIDE:
            dense = np.unique(column, return_inverse=True)[1]
            low, high = dense.min(), dense.max()
        width = int(high) - int(low) + 1
        if size * width >= 1 << 62:
            keys = np.unique(keys, return_inverse=True)[1]
            size = int(keys.max()) + 1
        keys = keys * width + (dense.astype(np.int64) - int(low))
        size *= width
    return keys
