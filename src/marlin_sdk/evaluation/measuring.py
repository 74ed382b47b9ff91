"""From samples to the measures and differences that are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.evaluation.columns import some
from marlin_sdk.evaluation.corrections import correct, p_value
from marlin_sdk.evaluation.intervals import interval_of
from marlin_sdk.evaluation.metrics import WHY_UNDEFINED
from marlin_sdk.evaluation.results import Difference, Measure, Row
from marlin_sdk.evaluation.sampling import Sample

__all__ = ["corrected", "differences_of", "measures_of"]


def measures_of(sample: Sample, groups: int, labels: Mapping[str, Sample] | None = None) -> dict[str, Measure]:
    """The measures of a sample.

    Args:
        sample: the sample.
        groups: number of its groups; one alone has no interval.
        labels: of a mean over labels, the samples of the labels.
    """
    measures = {}
    for name, values in sample.values.items():
        defined = values[~np.isnan(values)]
        reason = WHY_UNDEFINED.get(name)
        if not len(defined):
            measures[name] = Measure(None, undefined=f"undefined: {reason}")
            continue
        value, draws = float(defined.mean()), sample.draws[name]
        low, high = _interval(value, draws, sample.without, name, groups)
        without = [label for label, one in (labels or {}).items() if np.isnan(one.values[name]).all()]
        undefined = None
        if without:
            undefined = f"without {len(without)} of {len(labels or {})} labels, undefined: {reason}: {some(without)}"
        elif len(defined) < len(values):
            undefined = f"without {len(values) - len(defined)} of {len(values)} seeds, undefined: {reason}"
        measures[name] = Measure(
            value=value,
            low=low,
            high=high,
            seed_sd=float(defined.std(ddof=1)) if len(defined) > 1 else None,
            undefined=undefined,
            undefined_draws=int(np.isnan(draws).sum()),
        )
    return measures


def differences_of(one: Sample, two: Sample, groups: int) -> dict[str, Difference]:
    """The first sample minus the second, draw by draw."""
    differences = {}
    for name in one.values:
        means = [side.values[name][~np.isnan(side.values[name])] for side in (one, two)]
        if not all(map(len, means)):
            differences[name] = Difference(None)
            continue
        value = float(means[0].mean() - means[1].mean())
        draws = one.draws[name] - two.draws[name]
        without = None
        if one.without is not None and two.without is not None:
            without = {name: one.without[name] - two.without[name]}
        low, high = _interval(value, draws, without, name, groups)
        differences[name] = Difference(value, low, high, None if low is None else p_value(draws))
    return differences


def _interval(
    value: float, draws: NDArray[Any], without: Mapping[str, NDArray[Any]] | None, name: str, groups: int
) -> tuple[float | None, float | None]:
    if groups < 2 or np.isnan(draws).all():
        return None, None
    return interval_of(value, draws, None if without is None else without[name])


def corrected(rows: Sequence[Row]) -> list[Row]:
    """The rows with p-values corrected over all those of one metric and kind of row."""
    differences = [dict(row.differences or {}) for row in rows]
    families: dict[tuple[str, str], dict[int, float]] = {}
    for at, row in enumerate(rows):
        for name, difference in differences[at].items():
            if difference.p is not None:
                families.setdefault((name, row.kind), {})[at] = difference.p
    for (name, _), members in families.items():
        adjusted, correction = correct(list(members.values()))
        for at, p in zip(members, adjusted.tolist(), strict=True):
            differences[at][name] = replace(
                differences[at][name], p_corrected=p, comparisons=len(members), correction=correction
            )
    return [
        replace(row, differences=changed) if row.differences is not None else row
        for row, changed in zip(rows, differences, strict=True)
    ]
