"""Which tokens of a clip are visible."""

__all__ = ["detected", "patterns"]
