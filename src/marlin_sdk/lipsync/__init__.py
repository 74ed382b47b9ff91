"""Lips made for a sound: the network, its files, and films with it: `marlin-sdk lipsync generate`."""

__all__ = [
    "beside",
    "clips",
    "distance",
    "faces",
    "files",
    "film",
    "likeness",
    "maker",
    "measuring",
    "mouth",
    "network",
    "paste",
]
