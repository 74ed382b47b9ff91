"""What features and predictions are worth: probes, metrics, and intervals that hold."""

__all__ = [
    "audit",
    "columns",
    "corrections",
    "evaluate",
    "fidelity",
    "frechet",
    "intervals",
    "levels",
    "metrics",
    "pairs",
    "predictions",
    "probe",
    "results",
    "texts",
]
