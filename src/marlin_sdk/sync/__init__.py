"""Is the sound in time with the mouth: networks, distance curves, and scoring a video."""

__all__ = ["curve", "files", "mel", "network", "picture", "result", "scorer", "syncnet", "windows"]
