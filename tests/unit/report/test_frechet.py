"""The page of a distance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from marlin_sdk.errors import FeatureFileError
from marlin_sdk.evaluation.frechet.compare import frechet
from marlin_sdk.evaluation.frechet.results import Frechet
from marlin_sdk.evaluation.frechet.sets import FeatureSet
from marlin_sdk.report.frechet import draw_bias, write_frechet


def found(groups: int = 12, name: str = "fake") -> Frechet:
    random = np.random.default_rng(0)
    of = np.repeat([f"p{number}" for number in range(groups)], 5)
    a, b = (random.standard_normal((len(of), 3)) + shift for shift in (0, 1))
    return frechet(FeatureSet("real", a, of), FeatureSet(name, b, np.char.add("b", of)), draws=100)


def test_the_chart_says_what_it_shows() -> None:
    distance = found()
    chart = draw_bias(distance)
    assert "∞" in chart.svg
    assert f"{distance.value:.4g} of all windows" in chart.summary
    assert distance.floor is not None
    assert f"two halves of A, {distance.floor.value:.4g}" in chart.summary


def test_page_and_json(tmp_path: Path) -> None:
    distance = found(name="<script>alert(1)</script>")
    page = write_frechet(tmp_path / "out", distance, distance.to_json())
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<svg") == 1
    assert json.loads((tmp_path / "out" / "frechet.json").read_text())["value"] == distance.value


def test_without_a_curve_there_is_no_chart(tmp_path: Path) -> None:
    distance = found(groups=2)
    assert "<svg" not in write_frechet(tmp_path, distance, distance.to_json()).read_text()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FeatureFileError, match="choose another -o"):
        write_frechet(tmp_path / "file" / "out", found(), {})
