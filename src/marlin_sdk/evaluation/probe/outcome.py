"""What a probe has found: its numbers beside those of its baselines, in `results.json`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import FeatureFileError
from marlin_sdk.evaluation.evaluate import evaluate
from marlin_sdk.evaluation.intervals import Interval
from marlin_sdk.evaluation.predictions import Predictions
from marlin_sdk.evaluation.probe.run import Probe
from marlin_sdk.evaluation.results import Evaluation, Measure, Row

__all__ = ["ARM_NAMES", "MAIN_METRICS", "Outcome", "measure_probe", "metric_name", "write_results"]

ARM_NAMES = {
    "features": "features",
    "against": "features of the other dump",
    "metadata": "metadata of the files only",
    "shuffled": "features, shuffled labels",
    "majority": "a constant",
}
"""What each arm is called, see `Arm`."""

MAIN_METRICS = {
    "binary": ("balanced_accuracy", "auc", "accuracy"),
    "classes": ("balanced_accuracy", "f1_macro", "accuracy"),
    "regression": ("ccc", "pearson", "mae"),
}
"""The metrics shown first, by task."""


def metric_name(metric: str) -> str:
    """A metric as a card or a page calls it."""
    return {"auc": "AUC", "ccc": "CCC", "mae": "MAE", "f1_macro": "macro F1"}.get(metric, metric.replace("_", " "))


@dataclass(frozen=True, eq=False)
class Outcome:
    """The numbers of a probe.

    Attributes:
        probe: the probe.
        evaluations: by arm.
        paired: of the features, with the other dump's as `other`; None without one.
        names: what each arm is called.
    """

    probe: Probe
    evaluations: dict[str, Evaluation]
    paired: Evaluation | None
    names: Mapping[str, str] = field(default_factory=lambda: ARM_NAMES)

    def rows(self, arm: str, *, split: str = "test", ratio: float | None = None) -> list[Row]:
        """The rows of an arm in a split, at the largest share of the training part unless one is given."""
        at = max(self.probe.settings.ratios) if ratio is None else ratio
        return [row for row in self.evaluations[arm].rows if (row.split, row.ratio) == (split, at)]

    def headline(self, arm: str) -> dict[str, Measure]:
        """The main metrics of an arm on the test part; the mean over labels where there are several."""
        row = self.rows(arm)[0]
        return {name: row.measures[name] for name in MAIN_METRICS[self.evaluations[arm].task] if name in row.measures}

    @property
    def suspicions(self) -> list[str]:
        """Where a baseline does what it should not be able to, in words."""
        found = []
        main = MAIN_METRICS[self.evaluations["features"].task][0]
        # over pooled folds a constant is worse than chance: what a fold tests is rarer in what it trains on
        predictions = self.probe.predictions["features"]
        chance = 1 / len(predictions.classes) if predictions.classes else 0.0
        chance = max(chance, self.headline("majority")[main].value or 0.0)
        for arm, why in (
            ("metadata", "facts of the files predict the label, so that the data may leak it"),
            ("shuffled", "shuffled labels are predicted, so that the split or the pipeline leaks"),
        ):
            low = self.headline(arm)[main].low if arm in self.evaluations else None
            if low is not None and low > chance + 1e-9:
                found.append(f"{main} of {self.names[arm]} is at least {low:.3f}: {why}")
        return found


def measure_probe(
    probe: Probe,
    *,
    draws: int = 2000,
    interval: Interval = "percentile",
    names: Mapping[str, str] = ARM_NAMES,
    advance: Callable[[str, int, int], None] = lambda *_: None,
) -> Outcome:
    """Evaluate the predictions of every arm, and compare those of two dumps on the same draws.

    Args:
        probe: a finished probe.
        draws: draws of groups for the intervals.
        interval: "percentile" or "bca".
        names: what each arm is called.
        advance: called with what is being done, the number done, and of all.
    """

    def run(one: Predictions, other: Predictions | None = None) -> Evaluation:
        return evaluate(one, other, draws=draws, interval=interval, progress=lambda *n: advance("evaluating", *n))

    evaluations = {arm: run(predictions) for arm, predictions in probe.predictions.items()}
    against = probe.predictions.get("against")
    paired = None if against is None else run(probe.predictions["features"], against)
    return Outcome(probe, evaluations, paired, names)


def write_results(outcome: Outcome) -> Path:
    """Write `results.json` into the folder of the probe.

    Raises:
        FeatureFileError: it cannot be written.
    """
    probe = outcome.probe
    values: dict[str, Any] = {
        "settings": asdict(probe.settings),
        "data": probe.facts,
        "notes": [*probe.notes, *outcome.suspicions],
        "arms": {arm: evaluation.to_json() for arm, evaluation in outcome.evaluations.items()},
        "paired": None if outcome.paired is None else outcome.paired.to_json(),
    }
    path = probe.folder / "results.json"
    try:
        with atomic_path(path) as part:
            part.write_text(json.dumps(values, indent=1, default=_plain, allow_nan=False), encoding="utf-8")
    except OSError as error:
        raise FeatureFileError(f"cannot write {path}: {error.strerror}") from error
    return path


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not plain JSON")
