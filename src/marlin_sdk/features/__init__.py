"""The features of a video, row by row, and the files that store them."""

from marlin_sdk.features.features import VideoFeatures
from marlin_sdk.features.files import FeatureFormat
from marlin_sdk.features.windows import FaceWindow, SkippedWindow, WindowFeatures

__all__ = [
    "FaceWindow",
    "FeatureFormat",
    "SkippedWindow",
    "VideoFeatures",
    "WindowFeatures",
    "alignment",
    "files",
    "tables",
]
