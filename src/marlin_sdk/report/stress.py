"""Curves and numbers of a stress test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from marlin_sdk.report.charts import DATA, FAINT, TEXT, Chart, draw_axes
from marlin_sdk.stress.results import Mean, StressCurve, StressPoint

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["STRESS_COLUMNS", "draw_stress", "stress_rows"]

STRESS_COLUMNS = (
    "strength",
    "faces found again",
    "windows lost",
    "box jitter",
    "feature R2",
    "least cosine",
    "scores change",
    "decisions change",
    "apparent ITA",
)
"""Heads of the numbers."""

_LINES: tuple[tuple[str, Callable[[StressPoint], Mean | float | None], str, str], ...] = (
    ("faces found again", lambda point: point.recall, DATA, "-"),
    ("feature R2", lambda point: point.r2_within, TEXT, "--"),
    ("scores kept", lambda point: _kept(point.score_change), TEXT, ":"),
)


def draw_stress(curve: StressCurve) -> Chart:
    """Faces found again, R2 of the features, and 1 minus the change of a head's scores, over the strength.

    Values below 0 are drawn at 0.
    """
    at = [point.strength for point in curve.points]
    said = []

    def paint(axes: Axes) -> None:
        for name, measure, colour, style in _LINES:
            values = np.array([_value(measure(point)) for point in curve.points])
            if np.isnan(values).all():
                continue
            shown = np.clip(values, 0, None)
            axes.plot(at, shown, color=colour, linestyle=style, linewidth=1.5, marker="o", markersize=3, label=name)
            means = [measure(point) for point in curve.points]
            low = [mean.low if isinstance(mean, Mean) and mean.low is not None else np.nan for mean in means]
            high = [mean.high if isinstance(mean, Mean) and mean.high is not None else np.nan for mean in means]
            axes.fill_between(at, np.clip(low, 0, None), high, color=FAINT, linewidth=0, zorder=0)
        axes.set_xlabel(curve.unit)
        axes.set_ylim(-0.03, 1.05)

    svg = draw_axes(paint)
    worst = curve.points[-1]
    for name, measure, _, _ in _LINES:
        value = _value(measure(worst))
        if not np.isnan(value):
            said.append(f"{name} {value:.2f}")
    left = f"at {worst.strength:g}: {', '.join(said)}" if said else f"at {worst.strength:g} nothing is left to measure"
    return Chart(curve.name, svg, left)


def _kept(change: Mean | None) -> Mean | None:
    """1 minus a change."""
    if change is None:
        return None
    low, high = (None if end is None else 1 - end for end in (change.high, change.low))
    return Mean(1 - change.value, low, high, change.videos)


def _value(measure: Mean | float | None) -> float:
    return float("nan") if measure is None else measure.value if isinstance(measure, Mean) else measure


def stress_rows(curve: StressCurve) -> Iterator[tuple[str, ...]]:
    """The numbers of each strength as text, in the order of `STRESS_COLUMNS`."""
    for point in curve.points:
        yield (
            f"{point.strength:g}",
            _text(point.recall),
            _text(point.windows_lost),
            _text(point.jitter),
            "-" if point.r2_within is None else f"{point.r2_within:.3f}",
            "-" if point.cosine is None else f"{point.cosine:.5f}",
            _text(point.score_change),
            _text(point.decisions_changed),
            _text(point.apparent_ita, digits=0),
        )


def _text(mean: Mean | None, *, digits: int = 3) -> str:
    if mean is None:
        return "-"
    interval = "" if mean.low is None or mean.high is None else f" ({mean.low:.{digits}f} to {mean.high:.{digits}f})"
    return f"{mean.value:.{digits}f}{interval}"
