"""The commands from labelled videos to numbers."""

__all__ = ["audit", "data", "evaluate", "frechet", "predict", "probe"]
