"""marlin-sdk: a face video in, MARLIN features out.

>>> from marlin_sdk import Marlin
>>> model = Marlin.from_pretrained("marlin_vit_base_ytf")
>>> features = model.extract_video("talk.mp4")  # (N, 768)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from marlin_sdk._version import __version__

if TYPE_CHECKING:
    from marlin_sdk.clips.cut import Clip
    from marlin_sdk.config import ExtractionConfig, ModelConfig
    from marlin_sdk.dump.dataset import WindowDataset, pad_collate
    from marlin_sdk.dump.reading import FeatureDump, load_dump, load_features
    from marlin_sdk.errors import (
        ConfigError,
        DeviceMemoryError,
        DownloadError,
        FeatureFileError,
        MarlinError,
        MissingExtraError,
        NoFaceError,
        NoSoundError,
        PredictionsError,
        ShapeError,
        TrainingError,
        VideoDecodeError,
        VideoNotFoundError,
        WeightsError,
    )
    from marlin_sdk.face.detections import Detections, FaceDetector
    from marlin_sdk.face.recognition import FaceRecogniser
    from marlin_sdk.features import SkippedWindow, VideoFeatures, WindowFeatures
    from marlin_sdk.marlin import Marlin
    from marlin_sdk.prediction.predictor import Predictor
    from marlin_sdk.prediction.result import LabelPrediction, VideoPrediction, WindowPrediction
    from marlin_sdk.training.finetune.data.clips import ClipDataset

# Each public name and its module: imported on first use, because torch and OpenCV take a second to load.
_HOMES = {
    "Clip": "clips.cut",
    "ClipDataset": "training.finetune.data.clips",
    "ConfigError": "errors",
    "Detections": "face.detections",
    "DeviceMemoryError": "errors",
    "DownloadError": "errors",
    "ExtractionConfig": "config",
    "FaceDetector": "face.detections",
    "FaceRecogniser": "face.recognition",
    "FeatureDump": "dump.reading",
    "FeatureFileError": "errors",
    "LabelPrediction": "prediction.result",
    "Marlin": "marlin",
    "MarlinError": "errors",
    "MissingExtraError": "errors",
    "ModelConfig": "config",
    "NoFaceError": "errors",
    "NoSoundError": "errors",
    "PredictionsError": "errors",
    "Predictor": "prediction.predictor",
    "ShapeError": "errors",
    "SkippedWindow": "features",
    "TrainingError": "errors",
    "VideoDecodeError": "errors",
    "VideoFeatures": "features",
    "VideoNotFoundError": "errors",
    "VideoPrediction": "prediction.result",
    "WeightsError": "errors",
    "WindowDataset": "dump.dataset",
    "WindowFeatures": "features",
    "WindowPrediction": "prediction.result",
    "load_dump": "dump.reading",
    "load_features": "dump.reading",
    "pad_collate": "dump.dataset",
}

__all__ = [
    "Clip",
    "ClipDataset",
    "ConfigError",
    "Detections",
    "DeviceMemoryError",
    "DownloadError",
    "ExtractionConfig",
    "FaceDetector",
    "FaceRecogniser",
    "FeatureDump",
    "FeatureFileError",
    "LabelPrediction",
    "Marlin",
    "MarlinError",
    "MissingExtraError",
    "ModelConfig",
    "NoFaceError",
    "NoSoundError",
    "PredictionsError",
    "Predictor",
    "ShapeError",
    "SkippedWindow",
    "TrainingError",
    "VideoDecodeError",
    "VideoFeatures",
    "VideoNotFoundError",
    "VideoPrediction",
    "WeightsError",
    "WindowDataset",
    "WindowFeatures",
    "WindowPrediction",
    "__version__",
    "load_dump",
    "load_features",
    "pad_collate",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
