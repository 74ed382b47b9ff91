"""Apparent skin tone of the pictures of a video: of frames in memory, and of a dump whose sources are still there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import MarlinError
from marlin_sdk.evaluation.audit.skin import apparent_ita
from marlin_sdk.face.cropping import crop_square
from marlin_sdk.features import VideoFeatures
from marlin_sdk.video.reader import open_video

__all__ = ["FACES", "dump_tones", "frame_tone"]

FACES = 4
"""Pictures of a video whose median is its tone."""

_CROP_PX = 96
_MAX_FRAMES = 3000  # decoded of a source: two minutes
_MAX_BOX = 4  # times the longer side of the frame; no face box is larger


def frame_tone(frames: NDArray[np.uint8], boxes: Sequence[NDArray[np.floating]], at: Sequence[int]) -> float:
    """Median ITA of the faces in some frames, in degrees; NaN if none has one.

    Args:
        frames: uint8 (T, H, W, 3).
        boxes: the square (4,) of the face in each of the frames asked for.
        at: their indices.
    """
    tones = [_tone(frames[index], box) for index, box in zip(at, boxes, strict=True)]
    known = [tone for tone in tones if tone is not None]
    return float(np.median(known)) if known else float("nan")


def _tone(frame: NDArray[np.uint8], box: NDArray[np.floating]) -> float | None:
    square = np.round(box).astype(np.int64)
    if not np.isfinite(box).all() or np.abs(box).max() > _MAX_BOX * max(frame.shape[:2]):
        return None
    if min(square[2] - square[0], square[3] - square[1]) < 1:
        return None
    return apparent_ita(crop_square(frame, square, _CROP_PX))


def dump_tones(
    dump: FeatureDump, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, float]:
    """Apparent skin tone of the videos of a dump whose source files are still there: ITA in degrees, by id.

    Args:
        dump: the dump.
        progress: called with the number of videos looked at, and of all.
    """
    tones = {}
    for done, id in enumerate(dump, start=1):
        tone = _source_tone(dump.entries[id].source, dump[id])
        if not np.isnan(tone):
            tones[id] = tone
        progress(done, len(dump))
    return tones


def _source_tone(source: str, features: VideoFeatures) -> float:
    wanted = _spread(features)
    if "://" in source or not Path(source).exists() or not wanted:
        return float("nan")
    tones = []
    try:
        with open_video(source) as reader:
            for frame in reader:
                if frame.index in wanted:
                    tones.append(_tone(frame.rgb, wanted[frame.index]))
                if frame.index >= max(wanted):
                    break
    except MarlinError:  # the video has changed or gone; it is counted among those without a tone
        return float("nan")
    known = [tone for tone in tones if tone is not None]
    return float(np.median(known)) if known else float("nan")


def _spread(features: VideoFeatures) -> dict[int, NDArray[np.float32]]:
    """Boxes of some frames that show the face, by frame, spread over what is decoded."""
    shown = features.frame_valid & (features.face_score > 0) & (features.frame_index < _MAX_FRAMES)
    rows, steps = np.nonzero(shown)
    if not len(rows):
        return {}
    chosen = np.unique(np.linspace(0, len(rows) - 1, FACES).round().astype(int))
    return {
        int(features.frame_index[row, step]): features.boxes[row, step]
        for row, step in zip(rows[chosen], steps[chosen], strict=True)
    }
