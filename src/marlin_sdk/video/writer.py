"""Write frames to a video file."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import ConfigError, FeatureFileError, MarlinError

__all__ = ["WRITABLE_SUFFIXES", "write_video"]

WRITABLE_SUFFIXES = frozenset({".mp4", ".mkv", ".mov"})
"""Suffixes of the containers that can hold H.264 video."""


def write_video(frames: Iterable[NDArray[np.uint8]], path: Path, *, fps: float) -> int:
    """Write RGB frames as H.264, atomically.

    Args:
        frames: uint8 (H, W, 3), all of one size; an odd last row or column is cut off, since H.264 cannot hold it.
        path: the file; its suffix selects the container.
        fps: frames a second.
    Returns:
        Number of frames written.
    Raises:
        ConfigError: another suffix, or no frames.
        FeatureFileError: it cannot be written.
    """
    import av

    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise ConfigError(
            f"{path} cannot be written; expected a name that ends in {', '.join(sorted(WRITABLE_SUFFIXES))}"
        )
    count = 0
    try:
        with atomic_path(path) as part, av.open(str(part), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "18"})
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
                if not count:
                    stream.height, stream.width = height, width
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
                container.mux(stream.encode(picture))
                count += 1
            if not count:
                raise ConfigError(f"there are no frames to write to {path}")
            container.mux(stream.encode())
    except MarlinError:
        raise  # raised by the iterable of frames
    except (OSError, av.FFmpegError) as error:
        raise FeatureFileError(f"cannot write {path}: {error}") from error
    return count
