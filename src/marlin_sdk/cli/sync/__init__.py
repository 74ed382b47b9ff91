"""The commands of `marlin-sdk sync`."""

__all__ = ["group", "score", "train"]
