"""Associations are Cramér's V; a column that the features tell is told, and one that they do not is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association
from tests.unit.evaluation.audit.auditing import labelled_dump, people

from marlin_sdk.evaluation.audit.by_group import audit_dump
from marlin_sdk.evaluation.audit.cells import read_videos
from marlin_sdk.evaluation.audit.data import associations, column_probes, cramers_v


@given(st.lists(st.lists(st.integers(1, 50), min_size=3, max_size=3), min_size=2, max_size=4))
def test_v_is_that_of_scipy(rows: list[list[int]]) -> None:
    table = np.array(rows)
    assert float(cramers_v(table)) == pytest.approx(association(table, method="cramer"), abs=1e-9)


def test_v_of_many_tables_at_once_and_of_one_row() -> None:
    tables = np.array([[[5, 0], [0, 5]], [[5, 5], [5, 5]], [[5, 5], [0, 0]]], dtype=np.float64)
    found = cramers_v(tables)
    assert found[:2].tolist() == [1, 0]
    assert np.isnan(found[2])


def test_a_label_that_goes_with_a_column_is_first_and_above_chance(tmp_path: Path) -> None:
    labels = people(80)
    random = np.random.default_rng(0)
    for own in labels:
        own["task"] = "reading" if (own["sex"] == "f") == (random.random() < 0.9) else "talking"
        own["coin"] = bool(random.random() < 0.5)
        own["name"] = own["group"]
    dump = labelled_dump(tmp_path, labels)
    found, notes = associations(dump, read_videos(dump, ["sex"]), draws=200)
    by_label = {one.label: one for one in found}
    assert found[0].label == "task"
    assert by_label["task"].v > 0.6
    assert by_label["task"].low > by_label["task"].by_chance
    assert by_label["coin"].low < by_label["coin"].by_chance
    assert sum(map(sum, by_label["task"].table)) == len(labels)
    assert any("'name' has 80 values" in note for note in notes)


def test_features_tell_the_column_that_they_hold(tmp_path: Path) -> None:
    dump = labelled_dump(tmp_path, people(40), told="sex")
    sex, age = column_probes(dump, read_videos(dump, ["sex", "age"]), draws=200)
    assert (sex.balanced_accuracy or 0) > 0.95
    assert sex.chance == 0.5
    assert age.low is not None
    assert age.low < 0.35  # of four ranges
    assert (sex.videos, sex.subjects) == (80, 40)


def test_values_of_one_subject_are_left_out_by_name(tmp_path: Path) -> None:
    labels = [*people(20), {"group": "alone", "sex": "x", "age": 30}]
    dump = labelled_dump(tmp_path, labels)
    (probe,) = column_probes(dump, read_videos(dump, ["sex"]), draws=100)
    assert "only one subject has it: x" in probe.why
    assert probe.videos == 40


def test_whole_audit_is_plain_json(tmp_path: Path) -> None:
    import json

    dump = labelled_dump(tmp_path, people(12))
    audit = audit_dump(dump, ["sex", "age"], tones={"v000": 30.0}, draws=100)
    values = json.loads(json.dumps(audit.to_json(), allow_nan=False))
    assert values["videos"] == 24
    assert [table["title"] for table in values["tables"]] == ["Finding faces", "The picture"]
    assert any("12 subjects in all are few" in note for note in values["tables"][0]["notes"])
