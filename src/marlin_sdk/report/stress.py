"""Curves and numbers of a stress test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from marlin_sdk.report.charts import DATA, FAINT, TEXT, Chart, draw_axes
from marlin_sdk.stress.results import Mean, StressCurve

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

Values = list[Mean | float | None]


def _lines(curve: StressCurve) -> Iterator[tuple[str, Values, str, str]]:
    """The lines of a chart: name, values, colour and style."""
    points = curve.points
    yield "faces found again", [point.recall for point in points], DATA, "-"
    still = next((point.jitter.value for point in points if point.strength == 0 and point.jitter), None)
    steady: Values = [_steadiness(still, point.jitter) for point in points]
    yield "boxes as steady", steady, DATA, "-."
    yield "feature R2", [point.r2_within for point in points], TEXT, "--"
    yield "scores kept", [_kept(point.score_change) for point in points], TEXT, ":"


def draw_stress(curve: StressCurve) -> Chart:
    """Faces found again, steadiness of their boxes, R2 of the features, and what is kept of a head's scores.

    Values below 0 are drawn at 0.
    """
    at = [point.strength for point in curve.points]
    lines = list(_lines(curve))

    def paint(axes: Axes) -> None:
        for _, means, colour, style in lines:
            values = np.array([_value(mean) for mean in means])
            if np.isnan(values).all():
                continue
            shown = np.clip(values, 0, None)
            width = 1.0 if style == "-." else 1.5
            axes.plot(at, shown, color=colour, linestyle=style, linewidth=width, marker="o", markersize=3)
            low = [mean.low if isinstance(mean, Mean) and mean.low is not None else np.nan for mean in means]
            high = [mean.high if isinstance(mean, Mean) and mean.high is not None else np.nan for mean in means]
            axes.fill_between(at, np.clip(low, 0, None), high, color=FAINT, linewidth=0, zorder=0)
        axes.set_xlabel(curve.unit)
        axes.set_ylim(-0.03, 1.05)

    worst = [(name, _value(means[-1])) for name, means, _, _ in lines]
    said = ", ".join(f"{name} {value:.2f}" for name, value in worst if not np.isnan(value))
    summary = f"at {at[-1]:g}: {said}" if said else f"at {at[-1]:g} nothing is left to measure"
    return Chart(curve.name, draw_axes(paint), summary)


def _steadiness(still: float | None, jitter: Mean | None) -> float | None:
    """The jitter of the undisturbed boxes by that of these, at most 1."""
    if still is None or jitter is None:
        return None
    return min(1.0, still / jitter.value) if jitter.value > 0 else 1.0


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
