"""What predictions are worth: metrics with intervals that hold, from a file of predictions alone, without torch."""

__all__ = [
    "columns",
    "corrections",
    "evaluate",
    "intervals",
    "levels",
    "metrics",
    "pairs",
    "predictions",
    "results",
    "texts",
]
