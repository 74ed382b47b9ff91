"""Face detection, tracking and cropping."""

__all__ = ["cropping", "detections", "detectors", "regions", "tracking"]
