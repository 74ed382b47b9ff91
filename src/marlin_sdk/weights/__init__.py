"""Locating, downloading, verifying and safely reading the weights of models and detectors."""

__all__ = ["bundle", "checkpoints", "downloads", "hub", "identity", "integrity", "loading", "tensors"]
