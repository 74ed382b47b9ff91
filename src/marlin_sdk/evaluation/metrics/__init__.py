"""The metrics, for many weightings of the groups at once."""

from marlin_sdk.evaluation.metrics.ranking import Ranking
from marlin_sdk.evaluation.metrics.scoring import (
    METRICS,
    WHY_UNDEFINED,
    Scorer,
    find_metrics,
    mean_of_defined,
    scorer,
)

__all__ = ["METRICS", "WHY_UNDEFINED", "Ranking", "Scorer", "find_metrics", "mean_of_defined", "scorer"]
