"""The features of a video, row by row, and the files that store them."""

from marlin_sdk.features.features import FaceWindow, SkippedWindow, VideoFeatures, WindowFeatures
from marlin_sdk.features.files import FeatureFormat

__all__ = ["FaceWindow", "FeatureFormat", "SkippedWindow", "VideoFeatures", "WindowFeatures", "files"]
