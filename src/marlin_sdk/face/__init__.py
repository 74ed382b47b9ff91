"""Face detection, tracking and cropping."""

__all__ = ["boxes", "cropping", "detections", "detectors", "people", "recognition", "regions", "tracking"]
