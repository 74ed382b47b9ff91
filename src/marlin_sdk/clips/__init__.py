"""Where video and face meet: windows of frames, and the crops of a face in each."""

__all__ = ["calibration", "cut", "cutter", "windows"]
