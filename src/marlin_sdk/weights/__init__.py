"""Weights of models and detectors: found, downloaded, checked, and read safely."""

__all__ = ["checkpoints", "downloads", "hub", "identity", "loading"]
