"""The page of a Fréchet distance, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import FeatureFileError
from marlin_sdk.evaluation.frechet.results import Frechet
from marlin_sdk.evaluation.intervals import CONFIDENCE
from marlin_sdk.report.charts import DATA, TEXT, Chart, draw_axes
from marlin_sdk.report.rendering import page_template, write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_bias", "write_frechet"]


def write_frechet(folder: Path, found: Frechet, values: Mapping[str, Any]) -> Path:
    """Write `frechet.html` and `frechet.json`, each atomically.

    Args:
        folder: made if it is missing.
        found: the distance.
        values: what the JSON holds: the distance, and what it was made of.
    Returns:
        The page.
    Raises:
        FeatureFileError: they cannot be written.
        MissingExtraError: the extra `[report]` is not installed.
    """
    page = page_template("frechet.html.jinja")(
        found=found, chart=draw_bias(found) if found.curve else None, confidence=CONFIDENCE
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / "frechet.json") as part:
            part.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise FeatureFileError(f"cannot write to {folder}: {error.strerror or error}; choose another -o") from error
    write_page(folder / "frechet.html", page)
    return folder / "frechet.html"


def draw_bias(found: Frechet) -> Chart:
    """The distance over one by the number of rows, with the straight line to infinitely many.

    Args:
        found: a distance with a curve.
    """
    at = np.array([point.per_row for point in found.curve])
    values = np.array([point.value for point in found.curve])
    spreads = np.array([point.sd or 0.0 for point in found.curve])

    def paint(axes: Axes) -> None:
        axes.errorbar(at, values, spreads, color=DATA, linestyle="", marker="o", markersize=3.5, elinewidth=0.8)
        if found.extrapolated is not None:
            slope = np.polyfit(at, values, 1)[0]
            axes.plot([0, at.max()], found.extrapolated + slope * np.array([0, at.max()]), color=TEXT, linewidth=0.8)
        if found.low is not None and found.high is not None:
            axes.plot([0, 0], [found.low, found.high], color=DATA, linewidth=3, solid_capstyle="butt", clip_on=False)
        if found.floor is not None:
            axes.plot([1 / found.floor.rows], [found.floor.value], color=TEXT, marker="x", markersize=5, linestyle="")
        sizes = [point for point in found.curve if point.share in (0.25, 0.5, 1.0)]
        axes.set_xticks([0, *(point.per_row for point in sizes)], ["∞", *(f"{1 / p.per_row:,.0f}" for p in sizes)])
        axes.set_xlabel(f"{found.unit} of each, as one by their number")
        axes.set_ylabel("distance")

    words = f"{values[-1]:.4g} of all {found.unit}"
    if found.extrapolated is not None:
        words += f", {found.extrapolated:.4g} extrapolated to infinitely many"
    if found.floor is not None:
        words += f"; cross: two halves of A, {found.floor.value:.4g}"
    return Chart("Distance and number", draw_axes(paint), words)
