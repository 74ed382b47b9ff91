"""The commands of `marlin-sdk lipsync`."""

__all__ = ["evaluate", "generate", "group", "lse", "train"]
