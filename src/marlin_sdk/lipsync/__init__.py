"""Lips made for a sound: the network, its files, and films with it: `marlin-sdk lipsync generate`."""

__all__ = ["files", "mouth", "network"]
