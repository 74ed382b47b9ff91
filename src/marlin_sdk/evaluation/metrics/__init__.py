"""The metrics, for many weightings of the groups at once."""

from marlin_sdk.evaluation.metrics.ranking import Ranking
from marlin_sdk.evaluation.metrics.scoring import (
    DEFINED_FOR,
    LOWER_IS_BETTER,
    METRICS,
    Scorer,
    find_metrics,
    mean_of_defined,
    scorer,
)

__all__ = [
    "DEFINED_FOR",
    "LOWER_IS_BETTER",
    "METRICS",
    "Ranking",
    "Scorer",
    "find_metrics",
    "mean_of_defined",
    "scorer",
]
