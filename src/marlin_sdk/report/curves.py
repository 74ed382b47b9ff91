"""Charts of predictions: confusion, ROC, reliability, numbers against numbers, and what fewer labels cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.report.charts import DATA, FAINT, TEXT, Chart, draw_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_low_data", "draw_reliability", "draw_roc", "draw_scatter"]

_BINS = 10
_MAX_POINTS = 3000


def draw_roc(truth: NDArray[np.bool_], score: NDArray[np.float64], *, positive: str) -> Chart | None:
    """The ROC of a class against the rest.

    Args:
        truth: (N,), whether it is the class.
        score: (N,), its score.
        positive: its name.
    Returns:
        None if all or none are of the class.
    """
    if truth.all() or not truth.any():
        return None
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))  # ties are one step
    hits = np.concatenate([[0], np.cumsum(truth[order])[last]]) / truth.sum()
    false = np.concatenate([[0], np.cumsum(~truth[order])[last]]) / (~truth).sum()
    area = float(((hits[1:] + hits[:-1]) / 2 * np.diff(false)).sum())

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=TEXT, linewidth=0.8, linestyle=":")
        axes.plot(false, hits, color=DATA, linewidth=1.6)
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        axes.set_xlim(-0.01, 1.01)
        axes.set_ylim(0, 1.02)

    return Chart(f"ROC of {positive}", draw_axes(paint), f"area {area:.3f}; the dotted line is chance")


def draw_reliability(right: NDArray[np.bool_], confidence: NDArray[np.float64]) -> Chart:
    """How often a prediction of a given confidence is right.

    Args:
        right: (N,), whether the predicted class is the true one.
        confidence: (N,), its probability.
    """
    bins = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    used = counts > 0
    said = np.bincount(bins, confidence, minlength=_BINS)[used] / counts[used]
    was = np.bincount(bins, right, minlength=_BINS)[used] / counts[used]
    gap = float((np.abs(said - was) * counts[used]).sum() / counts.sum())

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=TEXT, linewidth=0.8, linestyle=":")
        axes.bar(np.arange(_BINS) / _BINS, counts / counts.sum(), width=0.092, align="edge", color=FAINT, linewidth=0)
        axes.plot(said, was, color=DATA, linewidth=1.6, marker="o", markersize=3)
        axes.set_xlabel("confidence")
        axes.set_ylabel("right; bars: share of videos")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)

    return Chart("Reliability", draw_axes(paint), f"expected calibration error {gap:.3f}, over {counts.sum():,} videos")


def draw_scatter(truth: NDArray[np.float64], predicted: NDArray[np.float64]) -> Chart:
    """Predicted numbers against true ones, at most 3,000 of them."""
    some = np.random.default_rng(0).permutation(len(truth))[:_MAX_POINTS]
    low, high = float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))

    def paint(axes: Axes) -> None:
        axes.plot([low, high], [low, high], color=TEXT, linewidth=0.8, linestyle=":")
        axes.plot(truth[some], predicted[some], color=DATA, linestyle="", marker="o", markersize=2.5, alpha=0.6)
        axes.set_xlabel("true")
        axes.set_ylabel("predicted")

    return Chart("Predicted and true", draw_axes(paint), f"mean error {np.abs(truth - predicted).mean():.3g}")


def draw_low_data(
    metric: str, ratios: Sequence[float], curves: Mapping[str, Sequence[tuple[float, float, float]]]
) -> Chart:
    """A metric over the share of the training part, with bands.

    Args:
        metric: its name.
        ratios: shares, ascending.
        curves: by arm, the first of them in colour: value, lower and upper end of its interval, for each share.
    """

    def paint(axes: Axes) -> None:
        for index, (name, points) in enumerate(curves.items()):
            value, low, high = np.array(points).T
            colour, style = (DATA, "-") if index == 0 else (TEXT, "--")
            axes.fill_between(ratios, low, high, color=colour, alpha=0.25 if index == 0 else 0.1, linewidth=0)
            axes.plot(ratios, value, color=colour, linestyle=style, linewidth=1.4, marker="o", markersize=3, label=name)
        axes.set_xscale("log")
        axes.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        axes.minorticks_off()
        axes.set_xlabel("share of the training groups")
        axes.set_ylabel(metric)
        if len(curves) > 1:
            axes.legend(frameon=False, fontsize=7.5)

    first = next(iter(curves.values()))
    words = ", ".join(f"{point[0]:.3f} at {ratio:g}" for ratio, point in zip(ratios, first, strict=True))
    return Chart(f"{metric} with fewer labels", draw_axes(paint), words)
