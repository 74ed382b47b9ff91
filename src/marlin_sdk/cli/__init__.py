"""The commands: parse, configure, call, exit."""

__all__ = ["extract", "main", "options", "output"]
