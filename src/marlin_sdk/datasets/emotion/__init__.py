"""Readers of data sets of expression and sentiment."""

__all__ = ["acted", "cmu_mosei", "in_the_wild"]
