"""A page on a probe: its numbers, where it errs, and the faces of its worst and surest mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import MarlinError
from marlin_sdk.evaluation.levels import to_videos
from marlin_sdk.evaluation.predictions import Predictions
from marlin_sdk.evaluation.probe.outcome import MAIN_METRICS, Outcome, metric_name
from marlin_sdk.evaluation.results import Measure
from marlin_sdk.report.charts import Chart
from marlin_sdk.report.crops import Strip, choose_crops, cut_strip
from marlin_sdk.report.curves import draw_low_data, draw_reliability, draw_roc, draw_scatter
from marlin_sdk.report.rendering import page_template, write_page

__all__ = ["strips_of", "write_probe_page"]

_MAX_LABELS = 40  # of which charts are drawn
_MAX_ROCS = 12
_MAX_CLASSES = 30  # of a confusion matrix
_MISTAKES, _CROPS = 12, 6


@dataclass(frozen=True)
class _Mistake:
    """A video that the probe is wrong about."""

    id: str
    truth: str
    predicted: str
    score: float
    strip: Strip


@dataclass(frozen=True)
class _Matrix:
    """A confusion matrix: rows are the true classes, columns the predicted ones."""

    classes: tuple[str, ...]
    counts: list[list[int]]
    shares: list[list[float]]


@dataclass(frozen=True)
class _Section:
    """What the page shows of a label."""

    label: str
    charts: list[Chart] = field(default_factory=list)
    matrix: _Matrix | None = None
    mistakes: list[_Mistake] = field(default_factory=list)


def write_probe_page(outcome: Outcome, find_strip: Callable[[str], Strip], output: Path) -> Path:
    """Write the page of a probe.

    Args:
        outcome: the measured probe.
        find_strip: gives the faces of a mistake, by its id; see `strips_of`.
        output: the `.html` file, which is written atomically.
    Raises:
        FeatureFileError: the page cannot be written.
        MissingExtraError: the extra `[report]` is not installed.
    """
    render = page_template("probe.html.jinja")
    probe = outcome.probe
    predictions = _tested(probe.predictions["features"], max(probe.settings.ratios))
    labels = [name for name in dict.fromkeys(predictions.label.names) if name in set(_names(predictions))]
    sections = []
    for index, label in enumerate(labels[:_MAX_LABELS]):
        own = predictions.take(predictions.label.recode([label]) == 0)
        sections.append(_section(label, own, find_strip, faces=index == 0 or len(labels) <= 3))
    page = render(
        title=probe.settings.label,
        facts=probe.facts,
        settings=probe.settings,
        rows=outcome.rows("features"),
        metrics=[metric_name(name) for name in outcome.headline("features")],
        arms=[
            (outcome.names[arm], [_cell(measure) for measure in outcome.headline(arm).values()])
            for arm in outcome.names
            if arm in outcome.evaluations
        ],
        curve=_low_data(outcome),
        sections=sections,
        more=max(0, len(labels) - _MAX_LABELS),
        notes=[*outcome.suspicions, *probe.notes, *outcome.rows("features")[0].notes],
        draws=outcome.evaluations["features"].draws,
    )
    write_page(output, page)
    return output


def _tested(predictions: Predictions, ratio: float) -> Predictions:
    """One prediction a video: of the test part, with the largest share of the training part and the first seed."""
    is_test = predictions.split.recode(["test"]) == 0
    chosen = is_test & (predictions.ratio == ratio)
    return to_videos(predictions.take(chosen & (predictions.seed == predictions.seed[chosen].min())))


def _names(predictions: Predictions) -> list[str]:
    return [predictions.label.names[code] for code in predictions.label.used()]


def _section(label: str, own: Predictions, find_strip: Callable[[str], Strip], *, faces: bool) -> _Section:
    if not own.classes:
        truth, predicted = own.y_true, own.scores[:, 0].astype(np.float64)
        worst = np.argsort(-np.abs(truth - predicted))[:_MISTAKES]
        found = [(int(row), f"{truth[row]:.3g}", f"{predicted[row]:.3g}", float(predicted[row])) for row in worst]
        return _Section(
            label, [draw_scatter(truth, predicted)], None, list(_mistakes(own, found, find_strip, faces=faces))
        )
    scores = own.scores.astype(np.float64)
    if scores.shape[1] == 1:
        scores = np.concatenate([1 - scores, scores], axis=1)
    chosen = scores.argmax(axis=1)
    sure, right = scores.max(axis=1), chosen == own.y_true
    shown = range(1, 2) if len(own.classes) == 2 else range(min(len(own.classes), _MAX_ROCS))
    charts = [draw_roc(own.y_true == index, scores[:, index], positive=own.classes[index]) for index in shown]
    wrong = [row for row in np.argsort(-sure, kind="stable") if not right[row]][:_MISTAKES]
    found = [(int(row), own.classes[own.y_true[row]], own.classes[chosen[row]], float(sure[row])) for row in wrong]
    return _Section(
        label,
        [draw_reliability(right, sure), *(chart for chart in charts if chart)],
        _matrix(own, chosen),
        list(_mistakes(own, found, find_strip, faces=faces)),
    )


def _matrix(own: Predictions, chosen: NDArray[np.int64]) -> _Matrix | None:
    size = len(own.classes)
    if size > _MAX_CLASSES:
        return None
    counts = np.bincount(own.y_true * size + chosen, minlength=size * size).reshape(size, size)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return _Matrix(own.classes, counts.tolist(), shares.tolist())


def _mistakes(
    own: Predictions,
    found: Sequence[tuple[int, str, str, float]],
    find_strip: Callable[[str], Strip],
    *,
    faces: bool,
) -> Iterator[_Mistake]:
    for row, truth, predicted, score in found:
        id = own.id[row]
        yield _Mistake(id, truth, predicted, score, find_strip(id) if faces else Strip())


def strips_of(dump: FeatureDump) -> Callable[[str], Strip]:
    """The faces of a dump's videos, cut from their sources, if these are still there."""
    return lambda id: _strip(id, dump)


def _strip(id: str, dump: FeatureDump) -> Strip:
    try:
        features = dump[id]
    except (MarlinError, KeyError) as error:
        return Strip(note=f"No crops: {error}")
    video = features.meta.get("video")
    fps = video.get("fps") if isinstance(video, dict) else None
    return cut_strip(dump.entries[id].source, choose_crops(features, _CROPS), source_fps=fps)


def _low_data(outcome: Outcome) -> Chart | None:
    ratios = sorted(outcome.probe.settings.ratios)
    if len(ratios) < 2:
        return None
    metric = MAIN_METRICS[outcome.evaluations["features"].task][0]
    curves: dict[str, list[tuple[float, float, float]]] = {}
    for arm in ("features", "against"):
        if arm in outcome.evaluations:
            measures = [outcome.rows(arm, ratio=ratio)[0].measures[metric] for ratio in ratios]
            if all(measure.value is not None for measure in measures):
                curves[outcome.names[arm]] = [_band(measure) for measure in measures]
    return draw_low_data(metric_name(metric), ratios, curves) if curves else None


def _band(measure: Measure) -> tuple[float, float, float]:
    value = measure.value or 0.0
    return value, value if measure.low is None else measure.low, value if measure.high is None else measure.high


def _cell(measure: Measure) -> dict[str, Any]:
    return {"value": measure.value, "low": measure.low, "high": measure.high, "why": measure.undefined or ""}
