"""What predictions are worth: metrics with intervals that hold, from a file of predictions alone, without torch."""

__all__ = ["predictions", "texts"]
