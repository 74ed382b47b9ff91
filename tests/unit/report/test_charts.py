"""Charts are whole SVG elements in the page's own colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

import numpy as np
import pytest

from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.report.charts import Chart, draw_heat_map, draw_histogram, draw_rate
from marlin_sdk.report.summary import measure_throughput

SVG = "{http://www.w3.org/2000/svg}"


def chart_of(values: Sequence[float], *, whole: bool = False) -> Chart:
    chart = draw_histogram("Things", values, unit="things", whole=whole)
    assert chart is not None
    return chart


def bars_of(chart: Chart) -> list[float]:
    """Heights of the bars, in the picture's own unit."""
    heights = []
    for path in ElementTree.fromstring(chart.svg).iter(f"{SVG}path"):
        if "var(--accent)" in path.get("style", ""):
            ys = [float(y) for y in re.findall(r"[ML] [\d.-]+ ([\d.-]+)", path.get("d", ""))]
            heights.append(max(ys) - min(ys))
    return heights


def test_bars_are_as_high_as_their_counts() -> None:
    heights = bars_of(chart_of([1, 1, 1, 1, 2, 3, 3], whole=True))
    assert len(heights) == 3
    np.testing.assert_allclose(np.array(heights) / heights[1], [4, 1, 2], rtol=1e-3)


def test_the_words_say_what_the_picture_shows() -> None:
    assert chart_of([1, 2, 2.5, 400]).summary == "median 2.25, from 1 to 400"


def test_all_colours_are_the_pages() -> None:
    svg = chart_of([1, 2, 3]).svg
    assert not re.findall(r"#[0-9a-fA-F]{6}\b", svg)
    assert "currentColor" in svg
    assert "var(--accent)" in svg


def test_two_charts_in_one_page_share_no_name() -> None:
    first, second = (set(re.findall(r' id="([^"]+)"', chart_of(values).svg)) for values in ([1, 2, 3], [5, 5, 9]))
    assert first
    assert not first & second


def test_every_reference_within_a_chart_has_its_target() -> None:
    svg = chart_of([1, 2, 3]).svg
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', svg)) <= set(re.findall(r' id="([^"]+)"', svg))


def test_a_chart_asks_for_nothing_and_has_no_size_of_its_own() -> None:
    svg = chart_of([1, 2, 3]).svg
    addresses = re.findall(r'https?://[^"]+', svg)
    assert all(address.startswith("http://www.w3.org/") for address in addresses)
    assert ElementTree.fromstring(svg).get("width") is None
    assert ElementTree.fromstring(svg).get("viewBox")


def test_the_same_values_give_the_same_picture() -> None:
    assert chart_of([1, 2, 3]).svg == chart_of([1, 2, 3]).svg


@pytest.mark.parametrize("values", [[0.0], [7.0] * 100, [1e-9, 1e9], [float("nan"), 2.0], list(range(100_000))])
def test_odd_values_can_be_drawn(values: list[float]) -> None:
    chart = chart_of(values, whole=len(values) != 2)
    assert sum(bars_of(chart)) > 0
    assert len(chart.svg) < 60_000


def test_no_values_are_no_chart() -> None:
    assert draw_histogram("Things", []) is None
    assert draw_histogram("Things", [float("nan")]) is None


def test_a_break_is_a_dotted_line_and_told_in_words() -> None:
    entries = [
        ManifestEntry(id=str(n), source="x", status="ok", rows=2, seconds=1, finished_at=1000.0 + n + 9999 * (n > 5))
        for n in range(12)
    ]
    throughput = measure_throughput(entries)
    assert throughput is not None
    chart = draw_rate("Videos per minute", throughput, throughput.videos_per_min, unit="videos per minute")
    assert "pauses between runs left out (dotted): 1" in chart.summary
    assert chart.svg.count("stroke-dasharray") == 1


def test_a_heat_map_runs_from_dark_to_bright() -> None:
    picture = draw_heat_map(np.array([[1, 0.2], [0.2, 0.6]], dtype=np.float32), 0.2, 1.0)
    brightness = picture.astype(float).mean(axis=2)
    assert brightness[0, 0] > brightness[1, 1] > brightness[0, 1]
    assert picture.dtype == np.uint8


def test_a_heat_map_of_one_value_can_be_drawn() -> None:
    assert draw_heat_map(np.ones((2, 2), dtype=np.float32), 1.0, 1.0).shape == (2, 2, 3)
