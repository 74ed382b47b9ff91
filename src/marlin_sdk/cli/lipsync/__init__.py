"""The commands of `marlin-sdk lipsync`."""

__all__ = ["group", "train"]
