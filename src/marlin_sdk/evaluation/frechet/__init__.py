"""Fréchet distances between features: how far two sets are apart, and how many rows it takes to say so."""

__all__ = ["compare", "distance", "results", "sets"]
