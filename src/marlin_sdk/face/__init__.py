"""Face detection, tracking and cropping."""

__all__ = ["cropping", "detections", "detectors", "people", "recognition", "regions", "tracking"]
