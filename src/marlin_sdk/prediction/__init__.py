"""Predictions for new videos: a model and a fitted head joined, and what they say as tables, JSON and films."""

__all__ = ["chart", "files", "film", "predictor", "result"]
