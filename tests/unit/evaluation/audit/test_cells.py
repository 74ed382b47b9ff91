"""Columns, their ranges and intersections; what cannot be divided is refused with the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.unit.evaluation.audit.auditing import labelled_dump

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.audit.cells import as_values, make_cells, project, read_videos


def test_cells_are_values_and_their_intersections(tmp_path: Path) -> None:
    labels = [{"sex": "f", "light": "low"}, {"sex": "m", "light": "low"}, {"sex": "f", "light": "good"}, {"sex": "f"}]
    videos = read_videos(labelled_dump(tmp_path, labels), ["sex", "light"])
    cells = {(cell.column, cell.value): cell.rows.nonzero()[0].tolist() for cell in make_cells(videos)}
    assert cells == {
        ("sex", "f"): [0, 2, 3],
        ("sex", "m"): [1],
        ("light", "good"): [2],
        ("light", "low"): [0, 1],
        ("sex & light", "f & good"): [2],
        ("sex & light", "f & low"): [0],
        ("sex & light", "m & low"): [1],
    }
    assert any("1 of 4 videos have no 'light'" in note for note in videos.notes)
    assert any("each source file is a subject" in note for note in videos.notes)


def test_cells_of_predictions_are_those_of_their_videos(tmp_path: Path) -> None:
    videos = read_videos(labelled_dump(tmp_path, [{"sex": "f"}, {"sex": "m"}]), ["sex"])
    first, second = project(make_cells(videos), np.array([1, 1, 0]))
    assert (first.rows.tolist(), second.rows.tolist()) == ([False, False, True], [True, True, False])


def test_many_numbers_become_four_ranges_with_as_many_videos_each() -> None:
    values = as_values("age", [*range(20, 60), None])
    assert values[-1] is None
    assert sorted(set(values[:-1]), key=str) == ["20 to 29.75", "29.75 to 39.5", "39.5 to 49.25", "49.25 to 59"]
    assert {values.count(value) for value in set(values[:-1])} == {10}


def test_few_numbers_and_bools_stay_as_they_are() -> None:
    assert as_values("age", [20, 30, 20]) == ("20", "30", "20")
    assert as_values("male", [True, False]) == ("true", "false")


@pytest.mark.parametrize(
    ("labels", "by", "message"),
    [
        ([{"sex": "f"}, {"sex": "m"}], ["gender"], "is no label column of the dump; it has 'sex'"),
        ([{"sex": "f"}, {"sex": "f"}], ["sex"], "is 'f' for every video; there is nothing to compare"),
        ([{}, {}], ["sex"], "has no labels, so there is nothing to divide by; extract with --table"),
        ([{"sex": "f", "group": "a"}, {"sex": "m", "group": "b"}], ["group"], "names the subjects"),
        ([{"sex": "f", "group": "a"}, {"sex": "m"}], ["sex"], "1 of 2 videos have no `group`"),
        ([{"sex": "f"}, {"sex": "m"}], ["sex", "sex"], "expected one to 3 different columns"),
        ([{"name": f"n{k}"} for k in range(31)], ["name"], "has 31 values"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    tmp_path: Path, labels: list[dict[str, str]], by: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_videos(labelled_dump(tmp_path, labels), by)
