"""The predictions file: the only way from a model, ours or any other, to its evaluation.

| column | type | default | |
| --- | --- | --- | --- |
| `id` | text | | the video |
| `window` | int | -1 | number of the window; -1 is the whole video |
| `group` | text | `id` | what is drawn as one: the person, the source video |
| `split` | text | `test` | |
| `fold`, `seed` | int | 0 | |
| `ratio` | float | 1 | share of the training part that was used |
| `label` | text | `label` | name of the target; several in multi-label |
| `y_true` | text, int, bool; float | | class; or number of a regression |
| `score_*` | float | | see below |

One `score_<class>` per class: probabilities, and the class predicted is the most probable. One `score_<class>` alone:
probability of that class of two, predicted from 0.5 on. `score_value` alone, with numbers: regression.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import MissingExtraError, PredictionsError
from marlin_sdk.evaluation.columns import matrix, number, row_keys, truth
from marlin_sdk.evaluation.texts import Texts

__all__ = ["Predictions", "Task", "concatenate", "read_predictions", "write_predictions"]

Task = Literal["binary", "classes", "regression"]
_TEXTS = ("id", "group", "split", "label")
_NUMBERS = {"window": np.int32, "fold": np.int32, "seed": np.int64, "ratio": np.float64}
_KEY = ("id", "window", "label", "fold", "seed", "ratio")
_COLUMNS = (*_TEXTS, *_NUMBERS, "y_true", "scores")
_SCORE = "score_"
_MOST_VALUES = 1 << 32  # a crafted file of a few bytes may have any number of rows


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions, a row per video or window, label, fold, seed and ratio. Make one with `Predictions.of`.

    Attributes:
        id: the video.
        window: number of the window, or -1 for the whole video, int32 [N].
        group: what is drawn as one.
        split: `test`, for example.
        fold: number of the fold, int32 [N].
        seed: seed of the model, int64 [N].
        ratio: share of the training part that was used, float64 [N].
        label: name of the target.
        classes: names of the classes; of two, the second is positive. Empty in a regression.
        y_true: index into `classes`, int32 [N]; or the number, float64 [N], in a regression.
        scores: probability of each class, of the positive class alone, or the number predicted, float32 or float64
            [N, C] or [N, 1].
    """

    id: Texts
    window: NDArray[np.int32]
    group: Texts
    split: Texts
    fold: NDArray[np.int32]
    seed: NDArray[np.int64]
    ratio: NDArray[np.float64]
    label: Texts
    classes: tuple[str, ...]
    y_true: NDArray[Any]
    scores: NDArray[Any]

    @classmethod
    def of(
        cls,
        *,
        id: Texts | Iterable[object],
        y_true: Texts | ArrayLike,
        scores: Mapping[str, ArrayLike],
        window: ArrayLike = -1,
        group: Texts | Iterable[object] | None = None,
        split: Texts | Iterable[object] | str = "test",
        fold: ArrayLike = 0,
        seed: ArrayLike = 0,
        ratio: ArrayLike = 1.0,
        label: Texts | Iterable[object] | str = "label",
    ) -> Predictions:
        """Check and convert columns. A single text or number stands for all rows.

        Args:
            id: the videos.
            y_true: class names, ints or bools (their names are `0`, `1`, `true`, `false`), or floats in a regression.
            scores: by class name, or the key `value` in a regression.
            window: number of the window; -1 is the whole video.
            group: what is drawn as one; the video by default.
            split: `test`, for example.
            fold: number of the fold.
            seed: seed of the model.
            ratio: share of the training part that was used.
            label: name of the target.
        Raises:
            PredictionsError: columns of different lengths, no row, a value that is missing or out of range, a class in
                `y_true` without a score, or two rows with the same key.
        """
        ids = Texts.of(id)
        rows = len(ids)
        if not rows:
            raise PredictionsError("predictions without a row: there is nothing to evaluate")
        classes, y = truth(y_true, tuple(scores))
        numbers = {"window": window, "fold": fold, "seed": seed, "ratio": ratio}
        columns: dict[str, Any] = {name: number(name, values, rows, _NUMBERS[name]) for name, values in numbers.items()}
        made = cls(
            id=ids,
            group=ids if group is None else Texts.of(group, rows),
            split=Texts.of(split, rows),
            label=Texts.of(label, rows),
            classes=classes,
            y_true=y,
            scores=matrix(scores, rows),
            **columns,
        )
        for name in _COLUMNS:
            if (length := len(getattr(made, name))) != rows:
                raise PredictionsError(f"column {name!r} has {length:,} rows, and 'id' has {rows:,}")
        _check_values(made)
        _check_unique(made)
        return made

    def __len__(self) -> int:
        return len(self.id)

    @property
    def task(self) -> Task:
        """`binary`: one score, of the second of two classes; `classes`: one per class; `regression`."""
        if not self.classes:
            return "regression"
        return "binary" if self.scores.shape[1] == 1 else "classes"

    @property
    def score_names(self) -> tuple[str, ...]:
        """What follows `score_` in the columns of the file."""
        return {"regression": ("value",), "binary": self.classes[1:], "classes": self.classes}[self.task]

    def take(self, rows: NDArray[Any] | slice) -> Predictions:
        """The rows selected by indices, by a mask or by a slice."""
        taken: dict[str, Any] = {}
        for name in _COLUMNS:
            column = getattr(self, name)
            taken[name] = column.take(rows) if isinstance(column, Texts) else column[rows]
        return Predictions(classes=self.classes, **taken)

    def key(self, row: int) -> str:
        """What tells a row from all others, for messages."""
        values = {"id": self.id[row], "label": self.label[row]}
        values |= {name: getattr(self, name)[row].item() for name in _KEY if name in _NUMBERS}
        return ", ".join(f"{name} {values[name]!r}" for name in _KEY)


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """The rows of several predictions of one task, such as those of each fold and seed.

    Raises:
        PredictionsError: none are given, their classes differ, or two rows have the same key.
    """
    if not parts:
        raise PredictionsError("no predictions to concatenate")
    first = parts[0]
    for part in parts:
        if (part.classes, part.task) != (first.classes, first.task):
            raise PredictionsError(
                f"predictions with scores of {list(first.score_names)} ({first.task}) and of {list(part.score_names)} "
                f"({part.task}) do not fit in one file"
            )
    columns: dict[str, Any] = {}
    for name in _COLUMNS:
        values = [getattr(part, name) for part in parts]
        columns[name] = Texts.concatenate(values) if isinstance(values[0], Texts) else np.concatenate(values)
    joined = Predictions(classes=first.classes, **columns)
    _check_unique(joined)
    return joined


def read_predictions(path: Path) -> Predictions:
    """Read a predictions file.

    Raises:
        PredictionsError: the file cannot be read, has unknown columns, lacks some, or has values that cannot be used.
        MissingExtraError: pyarrow is not installed.
    """
    pa = _import_pyarrow()
    try:
        metadata = pa.parquet.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
        names = schema.names
        _check_columns(path, names)
        if nested := [field.name for field in schema if pa.types.is_nested(field.type)]:
            raise PredictionsError(f"{path}: column {nested[0]!r} holds lists or records; expected one value a row")
        if metadata.num_rows * len(names) > _MOST_VALUES:
            raise PredictionsError(
                f"{path}: {metadata.num_rows:,} rows of {len(names)} columns are too many to evaluate"
            )
        texts = [name for name in (*_TEXTS, "y_true") if name in names]
        with pa.parquet.ParquetFile(path, read_dictionary=texts) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise PredictionsError(f"{path}: cannot be read as a predictions file: {error}") from error
    try:
        columns = {name: _column(pa, name, table[name]) for name in names}
        scores = {name.removeprefix(_SCORE): columns.pop(name) for name in names if name.startswith(_SCORE)}
        return Predictions.of(scores=scores, **columns)
    except (PredictionsError, pa.ArrowException) as error:
        raise PredictionsError(f"{path}: {error}") from error


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a predictions file: Parquet, zstd, text as dictionaries.

    Raises:
        PredictionsError: it cannot be written.
        MissingExtraError: pyarrow is not installed.
    """
    pa = _import_pyarrow()

    truth = predictions.y_true
    columns = {
        name: column.to_arrow() if isinstance(column := getattr(predictions, name), Texts) else pa.array(column)
        for name in ("id", "window", "group", "split", "fold", "seed", "ratio", "label")
    }
    columns["y_true"] = Texts(truth, predictions.classes).to_arrow() if predictions.classes else pa.array(truth)
    for index, name in enumerate(predictions.score_names):
        columns[f"{_SCORE}{name}"] = pa.array(np.ascontiguousarray(predictions.scores[:, index]))
    try:
        with atomic_path(path) as part:
            pa.parquet.write_table(pa.table(columns), part, compression="zstd")
    except OSError as error:
        raise PredictionsError(f"{path}: cannot be written: {error}") from error


def _import_pyarrow() -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("a predictions file", "parquet") from error
    return pa


def _check_columns(path: Path, names: Sequence[str]) -> None:
    known = [*_TEXTS, *_NUMBERS, "y_true"]
    scores = [name for name in names if name.startswith(_SCORE)]
    unknown = [name for name in names if name not in known and name not in scores]
    if unknown or len(set(names)) < len(names):
        wrong = f"unknown columns {unknown}" if unknown else "two columns of the same name"
        remedy = "rename or drop the others"
        if any(name.startswith("__index_level_") for name in unknown):
            remedy += " (that of pandas is not written by to_parquet(path, index=False))"
        raise PredictionsError(f"{path}: {wrong}; known are {known} and score_*: {remedy}")
    missing = [name for name in ("id", "y_true") if name not in names]
    if missing or not scores:
        raise PredictionsError(f"{path}: lacks {[*missing, *([] if scores else ['score_*'])]}; it has {list(names)}")


def _column(pa: Any, name: str, column: Any) -> Any:
    """A column of a table as numpy or `Texts`."""
    if column.null_count:
        raise PredictionsError(f"{column.null_count:,} values of {name!r} are missing: leave those rows out")
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if name in _TEXTS or (name == "y_true" and (pa.types.is_string(kind) or pa.types.is_large_string(kind))):
        return Texts.from_arrow(column)
    return column.cast(kind).to_numpy()


def _check_values(made: Predictions) -> None:
    bad = ~np.isfinite(made.scores).all(axis=1)
    if not made.classes:
        bad |= ~np.isfinite(made.y_true)
    if bad.any():
        raise PredictionsError(
            f"{bad.sum():,} of {len(made):,} rows have a score or a y_true that is NaN or infinite, the first at "
            f"{made.key(int(bad.argmax()))}: mend the model, or leave those rows out"
        )
    if made.classes and not (made.scores.min() >= 0 and made.scores.max() <= 1 + 1e-6):
        raise PredictionsError(
            f"scores of classes are probabilities, and these are {made.scores.min():.4g} to {made.scores.max():.4g}: "
            "apply a sigmoid or softmax to logits"
        )


def _check_unique(made: Predictions) -> None:
    """No two rows with one key: they would count twice."""
    keys = row_keys(made.label.codes, made.ratio, made.seed, made.fold, made.id.codes, made.window)
    order = np.argsort(keys, kind="stable")
    same = np.diff(keys[order]) == 0
    if same.any():
        raise PredictionsError(
            f"{same.sum():,} rows repeat the key of another, the first {made.key(int(order[int(same.argmax())]))}: "
            f"{', '.join(_KEY)} together tell rows apart"
        )
