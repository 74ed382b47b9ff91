"""Values by cell are those of a hand, intervals cover clusters, gaps are corrected, and so is their reach."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from marlin_sdk.evaluation.audit.cells import Cell
from marlin_sdk.evaluation.audit.comparing import Better, GroupTable, compare, mean_scorer
from marlin_sdk.evaluation.corrections import holm

HIGHER: dict[str, Better] = {"score": "higher"}


def table_of(
    values: NDArray[Any], subjects: NDArray[Any], second: NDArray[Any], *, draws: int = 400, seed: int = 0
) -> GroupTable:
    cells = [Cell("side", "a", ~second), Cell("side", "b", second)]
    scorer = partial(mean_scorer, values[:, None].astype(np.float64), ("score",))
    return compare("Means", cells, subjects, scorer, HIGHER, draws=draws, seed=seed)


def test_values_and_gaps_are_means_and_their_differences() -> None:
    subjects = np.repeat(np.arange(80), 2)
    second = subjects >= 40
    values = np.where(second, 3.0, 1.0) + 0.01 * np.arange(160) % 2
    everything, first, other = table_of(values, subjects, second).rows
    assert everything.estimates["score"].value == pytest.approx(values.mean())
    assert (first.videos, first.subjects) == (80, 40)
    gap = first.estimates["score"].to_best
    assert gap is not None
    assert gap.value == pytest.approx(values[~second].mean() - values[second].mean())
    assert other.estimates["score"].to_best is None
    to_all = other.estimates["score"].to_overall
    assert to_all is not None
    assert to_all.value == pytest.approx(values[second].mean() - values.mean())


def test_smallest_gap_is_2_8_standard_errors_of_the_difference() -> None:
    random = np.random.default_rng(0)
    subjects, second = np.arange(400), np.arange(400) % 2 == 1
    values = random.standard_normal(400)
    first, other = table_of(values, subjects, second, draws=4000).rows[1:]
    gap = first.estimates["score"].to_best or other.estimates["score"].to_best
    assert gap is not None
    expected = 2.8 * np.sqrt(values[second].var() / 200 + values[~second].var() / 200)
    assert gap.detectable == pytest.approx(expected, rel=0.06)


def test_fewer_than_30_subjects_are_counted_and_not_measured() -> None:
    subjects = np.concatenate([np.repeat(np.arange(29), 5), 100 + np.arange(30)])
    table = table_of(np.arange(175.0), subjects, subjects >= 100)
    few, enough = table.rows[1:]
    assert (few.too_few, few.videos, few.subjects) == (True, 145, 29)
    assert few.estimates["score"].value is None
    assert not enough.too_few
    assert enough.estimates["score"].value is not None
    assert (table.comparisons, enough.estimates["score"].to_best, enough.estimates["score"].is_best) == (0, None, False)


def test_p_values_are_corrected_over_all_cells() -> None:
    random = np.random.default_rng(1)
    subjects = np.arange(200)
    cells = [Cell("k", str(k), subjects % 4 == k) for k in range(4)]
    scorer = partial(mean_scorer, random.standard_normal((200, 1)), ("score",))
    table = compare("Means", cells, subjects, scorer, HIGHER, draws=400)
    gaps = [row.estimates["score"].to_best for row in table.rows if row.estimates["score"].to_best]
    assert (table.comparisons, table.correction) == (3, "holm")
    assert [gap.p_corrected for gap in gaps if gap] == holm([gap.p for gap in gaps if gap]).tolist()


def test_nothing_that_varies_has_no_smallest_gap() -> None:
    subjects = np.arange(60)
    row = table_of(np.ones(60), subjects, subjects >= 30).rows[2]
    gap = row.estimates["score"].to_best or row.estimates["score"].to_overall
    assert gap is not None
    assert (gap.value, gap.detectable) == (0, None)


def test_intervals_over_subjects_cover_where_those_over_videos_do_not() -> None:
    random = np.random.default_rng(2)
    people, each = 60, 8
    subjects, second = np.repeat(np.arange(people), each), np.repeat(np.arange(people) >= 30, each)
    covered = {"subjects": 0, "videos": 0}
    for trial in range(60):
        values = np.repeat(random.standard_normal(people), each) + 0.3 * random.standard_normal(people * each)
        for name, drawn in (("subjects", subjects), ("videos", np.arange(people * each))):
            estimate = table_of(values, drawn, second, draws=200, seed=trial).rows[1].estimates["score"]
            assert estimate.low is not None
            assert estimate.high is not None
            covered[name] += estimate.low <= 0 <= estimate.high
    assert covered["subjects"] >= 51  # 57 are expected; less than 51 is one chance in a hundred
    assert covered["videos"] < 45


@settings(max_examples=30)
@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=20), st.integers(1, 5))
def test_mean_of_a_column_is_weighted_by_its_subjects(values: list[float], count: int) -> None:
    column = np.array([*values, np.nan])
    groups = np.arange(len(column)) % count
    weights = np.arange(1.0, count + 1)[:, None]
    found = mean_scorer(column[:, None], ("m",), np.arange(len(column)), groups, count)(weights)["m"][0]
    assert found == pytest.approx(np.average(values, weights=weights[groups[:-1], 0]), rel=1e-9, abs=1e-9)
