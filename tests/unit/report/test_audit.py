"""The page of an audit: what it shows, and that text of a dump stays text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.unit.evaluation.audit.auditing import labelled_dump, people

from marlin_sdk.errors import FeatureFileError
from marlin_sdk.evaluation.audit.by_group import audit_dump
from marlin_sdk.report.audit import write_audit
from marlin_sdk.report.stress import STRESS_COLUMNS, draw_stress, stress_rows
from marlin_sdk.stress.results import Mean, StressCurve, StressPoint, StressTest

HALF = Mean(0.5, 0.4, 0.6, 3)
CURVE = StressCurve(
    "blur",
    "sigma",
    (
        StressPoint(0, Mean(1, 1, 1, 3), HALF, Mean(0, 0, 0, 3), 1.0, 1.0, Mean(0, 0, 0, 3), Mean(0, 0, 0, 3), HALF),
        StressPoint(2, HALF, HALF, HALF, -3.25, 0.9991, Mean(0.25, None, None, 1)),
        StressPoint(4),
    ),
)


def stress(**values: object) -> StressTest:
    fields = {
        "model": "tiny",
        "weights": "untrained:0",
        "detector": "lbp",
        "head": (),
        "seconds": 2.0,
        "videos": ("a.mp4",),
        "left_out": (("<b>bad.mp4</b>", "no frame"),),
        "frames": 25,
        "windows": 2,
        "curves": (CURVE,),
    }
    return StressTest(**{**fields, **values})  # type: ignore[arg-type]


def test_page_of_a_dump_counts_cells_and_escapes_their_names(tmp_path: Path) -> None:
    labels = people(64)
    for own in labels:
        own["place"] = "<script>alert(1)</script>" if own["sex"] == "f" else "home\u202e"
    lost = {index: 1 for index, own in enumerate(labels) if own["sex"] == "f"}
    dump = labelled_dump(tmp_path / "features", labels, lost=lost)
    page = write_audit(tmp_path / "out", dump=audit_dump(dump, ["sex", "place"], draws=200)).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "\u202e" not in page
    assert "default-src 'none'" in page
    assert "sex f: windows lost +0.333" in page
    assert "Stress test" not in page
    values = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert values["stress"] is None
    assert values["dump"]["associations"] == [] or values["dump"]["associations"][0]["v"] <= 1
    # every id once, and every link of the page leads to one
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_page_of_a_stress_test_has_a_chart_and_all_numbers(tmp_path: Path) -> None:
    page = write_audit(tmp_path, stress=stress()).read_text()
    assert page.count("<svg") == 1
    assert "&lt;b&gt;bad.mp4" in page
    assert "-3.250" in page
    assert "0.500 (0.400 to 0.600)" in page


def test_rows_say_what_is_not_there() -> None:
    rows = list(stress_rows(CURVE))
    assert {len(row) for row in rows} == {len(STRESS_COLUMNS)}
    assert rows[2] == ("4", *["-"] * 8)
    assert draw_stress(CURVE).summary == "at 4 nothing is left to measure"
    last = StressCurve("blur", "sigma", CURVE.points[:2])
    assert (
        draw_stress(last).summary
        == "at 2: faces found again 0.50, boxes as steady 1.00, feature R2 -3.25, scores kept 0.75"
    )


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatureFileError, match="choose another -o"):
        write_audit(tmp_path / "file" / "out", stress=stress())
