"""Checks of a machine, and how to fix what is missing."""

__all__ = ["checks", "finding"]
