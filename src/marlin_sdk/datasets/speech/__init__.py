"""Readers of data sets of people who read sentences."""

__all__ = ["grid", "lrs2"]
