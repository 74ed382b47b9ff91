"""Histograms and rates as SVG, in the colours of the page."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import MissingExtraError
from marlin_sdk.report.summary import Throughput

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DATA", "FAINT", "TEXT", "Chart", "draw_axes", "draw_counts", "draw_heat_map", "draw_histogram", "draw_rate"]

# matplotlib does not support CSS: it draws in placeholder colours, which are replaced by those of the page.
_COLOURS = {"#010203": "currentColor", "#040506": "var(--accent)", "#070809": "var(--faint)"}
TEXT, DATA, FAINT = _COLOURS
"""Colours to paint with, which become those of the page."""

_SIZE_IN = (3.7, 2.2)
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "marlin-sdk",
    "font.size": 8.5,
    "text.color": TEXT,
    "axes.facecolor": "none",
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "figure.facecolor": "none",
}


@dataclass(frozen=True)
class Chart:
    """A chart with its text.

    Attributes:
        title: title of the chart.
        svg: the element, safe to insert into a page: it contains no text of the dump.
        summary: a description in words, for those who cannot see it.
    """

    title: str
    svg: str
    summary: str


def draw_histogram(
    title: str, values: Sequence[float] | NDArray[np.float64], *, unit: str = "", whole: bool = False
) -> Chart | None:
    """Draw a histogram.

    Args:
        title: title of the chart.
        values: any number of values; those that are not finite are ignored.
        unit: unit of the values.
        whole: the values are integers, so that bins have integer widths.
    Returns:
        None if there is no value.
    """
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    if whole:
        step = max(1, int(np.ceil((high - low + 1) / 30)))
        edges = np.arange(low - 0.5, high + step + 0.5, step)
    else:
        edges = np.linspace(low, high, 31) if high > low else np.array([low - 0.5, low + 0.5])
    counts, _ = np.histogram(known, edges)
    summary = f"median {_number(float(np.median(known)))}, from {_number(low)} to {_number(high)}"
    return draw_counts(title, counts, edges, unit=unit, summary=summary, whole=whole)


def draw_counts(
    title: str,
    counts: NDArray[np.int64],
    edges: NDArray[np.float64],
    *,
    unit: str = "",
    summary: str,
    whole: bool = False,
) -> Chart:
    """Draw a histogram of given counts.

    Args:
        title: title of the chart.
        counts: (n,).
        edges: (n + 1,), edges of the bins.
        unit: unit of the edges.
        summary: description in words.
        whole: label integers only.
    """

    def paint(axes: Axes) -> None:
        axes.bar(edges[:-1], counts, width=np.diff(edges) * 0.92, align="edge", color=DATA, linewidth=0)
        axes.set_xlabel(unit)
        axes.locator_params(axis="x", nbins=6, integer=whole)
        axes.locator_params(axis="y", nbins=4, integer=True)
        if len(counts) == 1:
            axes.set_xlim(edges[0] - 1, edges[1] + 1)

    return Chart(title, draw_axes(paint), summary)


def draw_rate(title: str, throughput: Throughput, rates: NDArray[np.float64], *, unit: str) -> Chart:
    """Draw a rate over the working time; pauses are dotted lines.

    Args:
        title: title of the chart.
        throughput: throughput with the time axis.
        rates: (bins,), one of its rates.
        unit: unit of the rate, for the summary.
    """
    total_s = float(throughput.edges_s[-1])
    scale, name = (3600.0, "hours") if total_s > 3 * 3600 else (60.0, "minutes") if total_s > 180 else (1.0, "seconds")
    widths = np.diff(throughput.edges_s)
    mean = float((rates * widths).sum() / widths.sum())
    summary = f"{_number(mean)} {unit} on average, {_number(float(rates.max()))} at best"
    if throughput.pauses_s:
        summary += f"; pauses between runs left out (dotted): {len(throughput.pauses_s)}"

    def paint(axes: Axes) -> None:
        axes.stairs(rates, throughput.edges_s / scale, color=DATA, fill=True)
        for pause_s in throughput.pauses_s[:50]:
            axes.axvline(pause_s / scale, color=TEXT, linewidth=0.8, linestyle=":")
        axes.set_xlabel(f"{name} of work")
        axes.set_ylim(bottom=0)
        axes.set_xlim(0, total_s / scale)
        axes.locator_params(axis="both", nbins=6)

    return Chart(title, draw_axes(paint), summary)


def draw_heat_map(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.uint8]:
    """Colour a matrix from dark (low) to bright (high).

    Returns:
        uint8 (n, n, 3) RGB, one pixel per value.
    """
    colours = _matplotlib().colormaps["viridis"]
    span = max(high - low, 1e-6)
    rgb: NDArray[np.uint8] = colours(np.clip((values - low) / span, 0, 1), bytes=True)[..., :3]
    return np.ascontiguousarray(rgb)


def draw_axes(paint: Callable[[Axes], None]) -> str:
    """Paint axes, in the colours `TEXT`, `DATA` and `FAINT`, as an SVG element for a page."""
    matplotlib = _matplotlib()
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        axes = figure.add_subplot()
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        paint(axes)
        FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return _fit_page(buffer.getvalue())


def _fit_page(svg: str) -> str:
    """The bare element, in the colours and fonts of the page, with ids that are unique in it."""
    svg = svg[svg.index("<svg") :]
    # its style would apply to the whole page
    svg = re.sub(r"<(metadata|style)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)
    svg = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
    used = set(re.findall(r"(?:href=\"|url\()#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    prefix = f"c{zlib.crc32(svg.encode()):08x}"
    for name in used:
        svg = re.sub(rf'(id="|#){re.escape(name)}(?=["\)])', rf"\g<1>{prefix}-{name}", svg)
    for drawn, own in _COLOURS.items():
        svg = svg.replace(drawn, own)
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("marlin-sdk report", "report") from error
    return matplotlib


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 or value == round(value) else f"{value:.3g}"
