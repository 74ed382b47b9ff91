"""Clips for the model: windows of video frames, and the face crops of each window."""

__all__ = ["calibration", "cut", "cutter", "identity", "regions", "windows"]
