"""A column of text with repeated values, as numbers and the names they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import PredictionsError

__all__ = ["Texts"]


@dataclass(frozen=True, eq=False)
class Texts:
    """A column of text. Row `i` is `names[codes[i]]`.

    Attributes:
        codes: index into `names`, int32 [N].
        names: the distinct values; some may have no row.
    """

    codes: NDArray[np.int32]
    names: tuple[str, ...]

    @classmethod
    def of(cls, values: Texts | Iterable[object] | str, rows: int | None = None) -> Texts:
        """Number the values in the order of their first appearance.

        Args:
            values: one value per row, of which `str` is taken; or one text for all `rows`.
            rows: number of rows, for a single text.
        Raises:
            PredictionsError: a value is missing.
        """
        if isinstance(values, Texts):
            return values
        if isinstance(values, str):
            return cls(np.zeros(rows or 0, np.int32), (values,))
        numbers: dict[object, int] = {}
        rows_of: Iterable[object] = values.tolist() if isinstance(values, np.ndarray) else values
        codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in rows_of), np.int32)
        if any(map(_is_missing, numbers)):
            raise PredictionsError("text with missing values (None, NaN, NA): leave those rows out")
        names = tuple(map(str, numbers))
        made = cls(codes, tuple(dict.fromkeys(names)))  # 1 and "1" are the same text
        return made if len(made.names) == len(names) else cls(cls(codes, names).recode(made.names), made.names)

    @classmethod
    def from_arrow(cls, column: Any) -> Texts:
        """The rows of a chunked Arrow column of text, numbers or a dictionary of them, without a missing value.

        Raises:
            PredictionsError: a damaged dictionary.
        """
        import pyarrow as pa

        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        chunks = column.unify_dictionaries().chunks
        if not chunks:
            return cls(np.zeros(0, np.int32), ())
        names = tuple(chunks[0].dictionary.cast(pa.string()).to_pylist())
        if None in names or len(set(names)) < len(names):
            raise PredictionsError("a dictionary of text that names a value twice, or a missing one: write it anew")
        codes = [chunk.indices.to_numpy(zero_copy_only=False).astype(np.int32) for chunk in chunks]
        return cls(np.concatenate(codes), names)

    def to_arrow(self) -> Any:
        """The column as an Arrow dictionary."""
        import pyarrow as pa

        return pa.DictionaryArray.from_arrays(pa.array(self.codes), pa.array(self.names, pa.string()))

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, row: int) -> str:
        return self.names[int(self.codes[row])]

    def take(self, rows: NDArray[Any] | slice) -> Texts:
        """The rows selected by indices, by a mask or by a slice."""
        return Texts(self.codes[rows], self.names)

    def to_array(self) -> NDArray[np.object_]:
        """The text of each row; every text is in memory once."""
        return np.array([*self.names, ""], dtype=object)[:-1][self.codes]

    def used(self) -> NDArray[np.int32]:
        """The sorted codes that have a row."""
        return np.flatnonzero(np.bincount(self.codes, minlength=len(self.names))).astype(np.int32)

    def recode(self, names: Sequence[str]) -> NDArray[np.int32]:
        """The codes of the rows by another list of names; -1 for a text that it does not have."""
        numbers = {name: number for number, name in enumerate(names)}
        table = np.array([numbers.get(name, -1) for name in self.names] or [-1], np.int32)
        return table[self.codes]

    @staticmethod
    def concatenate(parts: Sequence[Texts]) -> Texts:
        """The rows of several columns, one after the other."""
        names = tuple(dict.fromkeys(name for part in parts for name in part.names))
        return Texts(np.concatenate([part.recode(names) for part in parts]), names)


def _is_missing(value: object) -> bool:
    """Whether a value is none, of Python, NumPy or pandas."""
    return value is None or (isinstance(value, float) and isnan(value)) or type(value).__name__ in ("NAType", "NaTType")
