"""The commands from labelled videos to numbers."""

__all__ = ["data", "evaluate", "predict", "probe"]
