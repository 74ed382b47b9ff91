"""What a video turned into, row by row, and the files it is kept in."""

from marlin_sdk.features.features import FaceWindow, SkippedWindow, VideoFeatures, WindowFeatures
from marlin_sdk.features.files import FeatureFormat

__all__ = ["FaceWindow", "FeatureFormat", "SkippedWindow", "VideoFeatures", "WindowFeatures", "files"]
