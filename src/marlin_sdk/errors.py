"""The exception tree.

`MarlinError` is the root. Each leaf is also the builtin that a caller would catch without knowing this package.
A message names the thing, what was got, what was expected, and what to do.

    MarlinError
      ConfigError(ValueError)              a setting, name, device or dtype that cannot be used
      ShapeError(ValueError)               a clip or frame of the wrong shape, dtype or range
      WeightsError(RuntimeError)           a checkpoint that does not fit, or is not safe to open
      DownloadError(OSError)               a file that could not be fetched, or came with the wrong checksum
      VideoDecodeError(OSError)            a video from which no frame can be had
        VideoNotFoundError(FileNotFoundError)
      NoFaceError(RuntimeError)            a video in which no window shows a face
      DeviceMemoryError(MemoryError)       a device that has no memory left for the model, or for one clip
      FeatureFileError(OSError)            a feature file that cannot be written or read
      TrainingError(RuntimeError)          a training run that cannot go on
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
    "ShapeError",
    "TrainingError",
    "VideoDecodeError",
    "VideoNotFoundError",
    "WeightsError",
]


class MarlinError(Exception):
    """Root of every error that this package raises on purpose."""


class ConfigError(MarlinError, ValueError):
    """A setting, name, device or dtype that cannot be used."""


class ShapeError(MarlinError, ValueError):
    """A clip or frame of the wrong shape, dtype or range."""


class WeightsError(MarlinError, RuntimeError):
    """A checkpoint that does not fit the model, or that is not safe to open."""


class DownloadError(MarlinError, OSError):
    """A file that could not be fetched, or that came with the wrong checksum."""


class VideoDecodeError(MarlinError, OSError):
    """A video from which no frame can be had."""


class VideoNotFoundError(VideoDecodeError, FileNotFoundError):
    """A video, or a folder of frames, that is not there."""


class NoFaceError(MarlinError, RuntimeError):
    """A video in which no window shows a face."""


class DeviceMemoryError(MarlinError, MemoryError):
    """A device that has no memory left for the model, or for one clip."""


class FeatureFileError(MarlinError, OSError):
    """A feature file that cannot be written or read."""


class TrainingError(MarlinError, RuntimeError):
    """A training run that cannot go on: a loss that is no number, a checkpoint that cannot be written."""


class MissingExtraError(MarlinError, ImportError):
    """An optional dependency that is not installed; the message holds its pip line.

    Args:
        what: needs it.
        extra: of this package, which brings it.
    """

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"{what} needs an extra that is not installed: pip install 'marlin-sdk[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        """Cross the border of a worker process: an exception is rebuilt from its message unless it says otherwise."""
        return type(self), (self.what, self.extra)
