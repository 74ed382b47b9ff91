"""Locating, downloading, verifying, safely reading, identifying and publishing the weights of models and detectors."""

__all__ = [
    "bundle",
    "card",
    "checkpoints",
    "downloads",
    "folder",
    "hub",
    "identity",
    "in_memory",
    "integrity",
    "loading",
    "publish",
    "tensors",
    "upload",
]
