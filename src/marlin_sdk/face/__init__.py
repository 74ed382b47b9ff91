"""Finding faces, following them, and cutting them out."""

__all__ = ["cropping", "detections", "detectors", "regions", "tracking"]
