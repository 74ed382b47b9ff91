"""The predictions file: what is accepted, what is refused, and that it comes back as it was."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from marlin_sdk.errors import MissingExtraError, PredictionsError
from marlin_sdk.evaluation.predictions import Predictions, concatenate, read_predictions, write_predictions
from marlin_sdk.evaluation.texts import Texts

BINARY: Mapping[str, Any] = {"id": ["a", "b", "c"], "y_true": [1, 0, 1], "score_1": [0.9, 0.2, 0.5]}


def written(path: Path, columns: Mapping[str, Any]) -> Path:
    pd.DataFrame(dict(columns)).to_parquet(path)
    return path


def test_foreign_file_needs_three_columns(tmp_path: Path) -> None:
    made = read_predictions(written(tmp_path / "p.parquet", BINARY))
    assert (made.task, made.classes, made.score_names) == ("binary", ("0", "1"), ("1",))
    assert made.y_true.tolist() == [1, 0, 1]
    assert made.group.to_array().tolist() == ["a", "b", "c"]
    assert (made.split[2], made.label[0]) == ("test", "label")
    assert [made.window[1], made.fold[1], made.seed[1], made.ratio[1]] == [-1, 0, 0, 1.0]


@pytest.mark.parametrize(
    ("y_true", "scores", "task", "classes", "codes"),
    [
        (["fake", "real"], {"fake": [0.9, 0.1]}, "binary", ("real", "fake"), [1, 0]),
        ([True, False], {"true": [0.9, 0.1]}, "binary", ("false", "true"), [1, 0]),
        ([True, False], {"True": [0.9, 0.1]}, "binary", ("false", "true"), [1, 0]),
        ([0, 0], {"1": [0.9, 0.1]}, "binary", ("0", "1"), [0, 0]),
        (["real", "real"], {"real": [0.9, 0.1]}, "binary", ("not real", "real"), [1, 1]),
        ([2, 0], {"0": [0.1, 0.8], "1": [0.1, 0.1], "2": [0.8, 0.1]}, "classes", ("0", "1", "2"), [2, 0]),
        (["b", "b"], {"a": [0.1, 0.8], "b": [0.9, 0.2]}, "classes", ("a", "b"), [1, 1]),
        ([0.5, -3.0], {"value": [7.0, -1.0]}, "regression", (), [0.5, -3.0]),
        ([5, -3], {"value": [7.0, -1.0]}, "regression", (), [5, -3]),
    ],
)
def test_task_follows_from_the_columns(
    y_true: list[Any], scores: dict[str, list[float]], task: str, classes: tuple[str, ...], codes: list[float]
) -> None:
    made = Predictions.of(id=["a", "b"], y_true=y_true, scores=scores)
    assert (made.task, made.classes, made.y_true.tolist()) == (task, classes, codes)


def test_file_comes_back_as_it_was(tmp_path: Path) -> None:
    made = Predictions.of(
        id=["a", "a", "b", "b"],
        y_true=Texts.of(["sad", "glad", "sad", "sad"]),
        scores={"glad": np.array([0.5, 0.25, 1, 0], np.float32), "sad": np.array([0.5, 0.75, 0, 1], np.float32)},
        window=[0, 1, 0, 1],
        group=["ann", "ann", "bob", "bob"],
        split=["test", "test", "val", "val"],
        fold=[1, 1, 2, 2],
        seed=7,
        ratio=0.1,
        label="mood",
    )
    write_predictions(tmp_path / "deep" / "p.parquet", made)
    again = read_predictions(tmp_path / "deep" / "p.parquet")
    assert again.scores.dtype == np.float32
    np.testing.assert_array_equal(again.scores, made.scores)
    for name in ("id", "group", "split", "label"):
        assert getattr(again, name).to_array().tolist() == getattr(made, name).to_array().tolist()
    for name in ("window", "fold", "seed", "ratio", "y_true"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    assert pd.read_parquet(tmp_path / "deep" / "p.parquet")["y_true"].tolist() == ["sad", "glad", "sad", "sad"]


def test_regression_comes_back_as_it_was(tmp_path: Path) -> None:
    made = Predictions.of(id=["a", "b"], y_true=[0.25, 2.0], scores={"value": [0.5, 1e9]}, label=["x", "y"])
    write_predictions(tmp_path / "p.parquet", made)
    again = read_predictions(tmp_path / "p.parquet")
    assert (again.task, again.y_true.tolist(), again.scores[:, 0].tolist()) == ("regression", [0.25, 2.0], [0.5, 1e9])


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.int64()])
def test_text_of_any_arrow_type_is_read_over_many_row_groups(tmp_path: Path, kind: Any) -> None:
    values = pa.array([str(n % 40) for n in range(100)]).cast(pa.int64())
    column = values if kind == pa.int64() else values.cast(pa.string()).cast(kind)
    table = pa.table({"id": column, "window": list(range(100)), "y_true": column, "score_value": [0.5] * 100})
    if kind != pa.int64():
        table = table.rename_columns(["id", "window", "y_true", "score_0"]).filter(
            pa.array([n % 40 < 2 for n in range(100)])
        )
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=3)
    made = read_predictions(tmp_path / "p.parquet")
    assert made.id.to_array().tolist() == [str(value) for value in table["id"].to_pylist()]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown": (
        {"subject": ["x"] * 3, "prob": [1.0] * 3},
        r"unknown columns \['subject', 'prob'\].*known are.*'group'",
    ),
    "index": ({"__index_level_0__": [4, 5, 7]}, r"unknown columns .*index=False"),
    "no id": ({"id": None}, r"lacks \['id'\]"),
    "no score": ({"score_1": None}, r"lacks \['score_\*'\]"),
    "empty": ({"id": [], "y_true": [], "score_1": []}, "without a row"),
    "infinite": ({"score_1": [0.1, np.inf, -np.inf]}, "2 of 3 rows .* first at id 'b'"),
    "NaN": ({"score_1": [0.1, np.nan, 0.2]}, "1 values of 'score_1' are missing"),  # pandas writes it as missing
    "null": ({"y_true": ["1", None, "0"]}, "1 values of 'y_true' are missing"),
    "logit": ({"score_1": [-2.0, 0.1, 3.0]}, "probabilities, and these are -2 to 3"),
    "other classes": ({"y_true": ["x", "y", "z"]}, "one score means two classes"),
    "unknown class": ({"score_0": [0.1] * 3, "y_true": [0, 1, 2]}, "y_true has '2', and the scores are of '1', '0'"),
    "float classes": ({"y_true": [0.0, 1.0, 0.0]}, "means a regression"),
    "twice": ({"id": ["a", "b", "a"]}, "1 rows repeat .* id 'a', window -1"),
    "text score": ({"score_1": ["a", "b", "c"]}, "score_1 is object"),
    "float window": ({"window": [0.0, 1.0, 2.0]}, "'window' is float64, and int32"),
    "large fold": ({"fold": [0, 1, 2**40]}, "do not fit in int32"),
    "NaN ratio": ({"ratio": [1.0, np.nan, 1.0]}, "'ratio'"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    changes, message = BAD[name]
    columns = {key: value for key, value in {**BINARY, **changes}.items() if value is not None}
    path = written(tmp_path / "bad.parquet", columns)
    with pytest.raises(PredictionsError, match=message) as caught:
        read_predictions(path)
    assert str(path) in str(caught.value)


def test_what_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(b"id,y_true,score_1\n")
    for path in (tmp_path / "p.parquet", tmp_path, tmp_path / "absent.parquet"):
        with pytest.raises(PredictionsError, match=f"{path}: cannot be read"):
            read_predictions(path)


def test_nan_is_refused_in_scores_and_targets() -> None:
    with pytest.raises(PredictionsError, match=r"1 of 3 rows .* NaN or infinite, the first at id 'c'"):
        Predictions.of(id=["a", "b", "c"], y_true=[0, 1, 1], scores={"1": [0.5, 0.5, np.nan]})
    with pytest.raises(PredictionsError, match=r"1 of 2 rows .* NaN or infinite, the first at id 'a'"):
        Predictions.of(id=["a", "b"], y_true=[np.nan, 1.0], scores={"value": [0.5, 0.5]})


def test_missing_text_is_refused_and_numbers_are_text() -> None:
    for missing in (None, float("nan"), pd.NA, pd.NaT):
        with pytest.raises(PredictionsError, match="missing values"):
            Predictions.of(id=["a", missing], y_true=[0, 1], scores={"1": [0.5, 0.5]})
    mixed = Texts.of(["1", 1, 2, "2", True])
    assert (mixed.to_array().tolist(), mixed.names) == (["1", "1", "2", "2", "1"], ("1", "2"))


@pytest.mark.parametrize(
    ("y_true", "name"),
    [([True, False, True], "true"), (pd.Categorical([3, 2, 3]), "3"), (pd.Categorical(["b", "a", "b"]), "b")],
)
def test_pandas_bools_and_categories_are_read(tmp_path: Path, y_true: Any, name: str) -> None:
    columns = {"id": pd.Categorical(["a", "b", "c"]), "y_true": y_true, f"score_{name}": [0.9, 0.2, 0.5]}
    assert read_predictions(written(tmp_path / "p.parquet", columns)).y_true.tolist() == [1, 0, 1]


def test_absurd_number_of_rows_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marlin_sdk.evaluation.predictions._MOST_VALUES", 8)
    with pytest.raises(PredictionsError, match="3 rows of 3 columns are too many"):
        read_predictions(written(tmp_path / "p.parquet", BINARY))


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "p.parquet", BINARY)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"marlin-sdk\[parquet\]"):
        read_predictions(path)


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(PredictionsError, match="'fold' has 2 rows, and 'id' has 3"):
        Predictions.of(**BINARY_OF, fold=[0, 1])
    with pytest.raises(PredictionsError, match=r"score_1 is float64 \[2\].*\[3\]"):
        Predictions.of(id=["a", "b", "c"], y_true=[0, 1, 1], scores={"1": [0.5, 0.5]})


BINARY_OF: dict[str, Any] = {"id": BINARY["id"], "y_true": BINARY["y_true"], "scores": {"1": BINARY["score_1"]}}


def test_parts_are_concatenated_by_name_and_not_twice() -> None:
    one = Predictions.of(**BINARY_OF, seed=1)
    two = Predictions.of(id=["c", "d"], y_true=[0, 1], scores={"1": [0.0, 1.0]}, seed=2)
    both = concatenate([one, two])
    assert both.id.to_array().tolist() == ["a", "b", "c", "c", "d"]
    assert both.seed.tolist() == [1, 1, 1, 2, 2]
    with pytest.raises(PredictionsError, match="3 rows repeat"):
        concatenate([one, one])
    other = Predictions.of(id=["x"], y_true=["b"], scores={"a": [0.5], "b": [0.5]})
    with pytest.raises(PredictionsError, match="do not fit in one file"):
        concatenate([one, other])


def test_column_of_lists_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"id": ["a", "b"], "y_true": [["x"], ["y"]], "score_x": [0.5, 0.5]}), path)
    with pytest.raises(PredictionsError, match="column 'y_true' holds lists or records"):
        read_predictions(path)
