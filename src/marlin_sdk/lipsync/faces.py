"""The face of a video whose lips are to be made: a crop of each frame, and where it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.bars import bar_class
from marlin_sdk.clips.windows import sample_by_time
from marlin_sdk.errors import ConfigError, NoFaceError
from marlin_sdk.face.cropping import crop_square, square_box
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.face.tracking import FaceTracker, TrackedFace
from marlin_sdk.sync.network import FPS
from marlin_sdk.video.reader import Frame, open_video

__all__ = ["MAX_FRAMES", "FaceOfVideo", "read_face"]

MAX_FRAMES = 30_000
"""Frames of a video, 20 minutes: their crops are held in memory."""

_DETECT_EVERY = 4  # as in preparing training data


@dataclass(frozen=True, eq=False)
class FaceOfVideo:
    """The most prominent face of a video, at 25 frames a second.

    Attributes:
        crops: uint8 (N, S, S, 3), RGB, of the frames that show it.
        squares: int64 (N, 4), xyxy, half-open, where each crop is in its frame; it may extend beyond the frame.
        frames: int64 (N,), ascending, the frames that show it.
        num_frames: of the video.
        start_s: time of the first frame of the video.
        others: other faces.
        warnings: what is wrong with the video.
    """

    crops: NDArray[np.uint8]
    squares: NDArray[np.int64]
    frames: NDArray[np.int64]
    num_frames: int
    start_s: float
    others: int = 0
    warnings: tuple[str, ...] = ()


class _Track:
    """Crops of one face, collected one by one."""

    def __init__(self) -> None:
        self.crops: list[NDArray[np.uint8]] = []
        self.squares: list[NDArray[np.int64]] = []
        self.frames: list[int] = []
        self.weight = 0.0


def read_face(video: str | Path, size_px: int, detector: FaceDetector, *, progress: bool = False) -> FaceOfVideo:
    """Find, follow and crop the most prominent face of a video: the largest, for the longest time.

    Frames of the size of a crop are taken for crops, as in `marlin-sdk prepare`.

    Args:
        video: a file.
        size_px: side of the crops.
        detector: the face detector.
        progress: show a progress bar on stderr.
    Raises:
        NoFaceError: no frame shows a face.
        ConfigError: the video is longer than `MAX_FRAMES`.
        VideoDecodeError: it cannot be read.
    """
    tracks: dict[int, _Track] = {}
    count, start_s = 0, 0.0
    with (
        open_video(video) as reader,
        bar_class()(unit="frame", desc=reader.name[-40:], leave=False, disable=not progress) as bar,
    ):
        for frame, faces in _follow(sample_by_time(reader, FPS), size_px, detector):
            if not count:
                start_s = frame.time_s
            if count == MAX_FRAMES:
                raise ConfigError(
                    f"{reader.name} is longer than {MAX_FRAMES / FPS / 60:.0f} minutes; cut it, and make one part "
                    "after another"
                )
            for face in faces:
                track, square = tracks.setdefault(face.track_id, _Track()), square_box(face.box)
                track.crops.append(crop_square(frame.rgb, square, size_px))
                track.squares.append(square)
                track.frames.append(count)
                track.weight += float(np.prod(face.box[2:] - face.box[:2])) * face.score
            count += 1
            bar.update()
        name, warnings = reader.name, tuple(reader.warnings)
    if not tracks:
        raise NoFaceError(f"{name}: none of its {count} frames shows a face, so there are no lips to make")
    best = max(tracks.values(), key=lambda track: track.weight)
    return FaceOfVideo(
        crops=np.stack(best.crops),
        squares=np.stack(best.squares),
        frames=np.array(best.frames, dtype=np.int64),
        num_frames=count,
        start_s=start_s,
        others=len(tracks) - 1,
        warnings=warnings,
    )


def _follow(frames: Iterable[Frame], size_px: int, detector: FaceDetector) -> Iterator[tuple[Frame, list[TrackedFace]]]:
    """Each frame with its faces."""
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    if (first.height, first.width) == (size_px, size_px):
        whole = TrackedFace(0, np.array([0.0, 0.0, size_px, size_px]), 1.0)
        yield from ((frame, [whole]) for frame in chain([first], frames))
        return
    yield from FaceTracker(detector, detect_every=_DETECT_EVERY).follow(chain([first], frames))
