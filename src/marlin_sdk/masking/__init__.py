"""Token masks: which tokens of a clip are visible."""

__all__ = ["covering", "detected", "patterns"]
