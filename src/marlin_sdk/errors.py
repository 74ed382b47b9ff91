"""The exception tree.

`MarlinError` is the root. Each leaf also derives from a builtin, for callers that do not know this package.
A message names the subject, the value received, the value expected, and the remedy.

    MarlinError
      ConfigError(ValueError)              a setting, name, device or dtype that cannot be used
      ShapeError(ValueError)               a clip or frame of the wrong shape, dtype or range
      WeightsError(RuntimeError)           a checkpoint that does not fit the model, or is not safe to load
      DownloadError(OSError)               a file that could not be downloaded, or has the wrong checksum
      VideoDecodeError(OSError)            a video without a decodable frame
        VideoNotFoundError(FileNotFoundError)
      NoFaceError(RuntimeError)            a video in which no window shows a face
      NoSoundError(RuntimeError)           a video without sound, or with nothing but silence
      DeviceMemoryError(MemoryError)       a device without enough memory for the model or for one clip
      FeatureFileError(OSError)            a feature file that cannot be written or read
      PredictionsError(ValueError)         predictions that cannot be read or scored
      TrainingError(RuntimeError)          a training run that cannot continue
      MissingExtraError(ImportError)       an optional dependency that is not installed
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "DeviceMemoryError",
    "DownloadError",
    "FeatureFileError",
    "MarlinError",
    "MissingExtraError",
    "NoFaceError",
    "NoSoundError",
    "PredictionsError",
    "ShapeError",
    "TrainingError",
    "VideoDecodeError",
    "VideoNotFoundError",
    "WeightsError",
]


class MarlinError(Exception):
    """Base class of all errors that this package raises on purpose."""


class ConfigError(MarlinError, ValueError):
    """A setting, name, device or dtype that cannot be used."""


class ShapeError(MarlinError, ValueError):
    """A clip or frame of the wrong shape, dtype or range."""


class WeightsError(MarlinError, RuntimeError):
    """A checkpoint that does not fit the model, or is not safe to load."""


class DownloadError(MarlinError, OSError):
    """A file that could not be downloaded, or has the wrong checksum."""


class VideoDecodeError(MarlinError, OSError):
    """A video without a decodable frame."""


class VideoNotFoundError(VideoDecodeError, FileNotFoundError):
    """A video, or a folder of frames, that does not exist."""


class NoFaceError(MarlinError, RuntimeError):
    """A video in which no window shows a face."""


class NoSoundError(MarlinError, RuntimeError):
    """A video without sound that can be decoded, or with nothing but silence."""


class DeviceMemoryError(MarlinError, MemoryError):
    """A device without enough memory for the model or for one clip."""


class FeatureFileError(MarlinError, OSError):
    """A feature file that cannot be written or read."""


class PredictionsError(MarlinError, ValueError):
    """Predictions that cannot be read or scored."""


class TrainingError(MarlinError, RuntimeError):
    """A training run that cannot continue: the loss is not finite, or a checkpoint cannot be written."""


class MissingExtraError(MarlinError, ImportError):
    """An optional dependency that is not installed; the message gives the pip command.

    Args:
        what: the feature that needs it.
        extra: the extra of this package that installs it.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"{what} needs an extra that is not installed: pip install 'marlin-sdk[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Support pickling across processes: by default, an exception is rebuilt from its message alone."""
        return type(self), (self.what, self.extra)
