"""Face crops as the encoder saw them, cut from the source video with the boxes stored in the features."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import MarlinError
from marlin_sdk.face.cropping import crop_square
from marlin_sdk.features import VideoFeatures
from marlin_sdk.video.reader import open_video

__all__ = ["Crop", "Strip", "WantedCrop", "choose_crops", "cut_strip", "data_uri"]

CROP_PX = 96
"""Side of a crop in the page, in pixels."""

MAX_FRAMES = 3000
"""Maximum number of frames decoded per source: the first two minutes at 25 frames per second."""

_MAX_TRACKS = 4
_JPEG_QUALITY = 80
_MAX_BOX = 4  # times the longer side of the frame; no face box is larger


@dataclass(frozen=True)
class WantedCrop:
    """A face to cut out.

    Attributes:
        frame_index: frame of the source.
        time_s: start of its window.
        track_id: its face track.
        box: float32 (4,), xyxy in pixels.
    """

    frame_index: int
    time_s: float
    track_id: int
    box: NDArray[np.float32]


@dataclass(frozen=True)
class Crop:
    """A face crop in the page.

    Attributes:
        time_s: start of its window.
        track_id: its face track.
        image: data URI of a JPEG of 96x96 pixels.
    """

    time_s: float
    track_id: int
    image: str


@dataclass(frozen=True)
class Strip:
    """The crops of a video.

    Attributes:
        crops: by track, then by time.
        note: why some or all are missing; empty if none is.
    """

    crops: tuple[Crop, ...] = ()
    note: str = ""


def choose_crops(features: VideoFeatures, count: int) -> list[WantedCrop]:
    """Choose faces spread over the time of each track, of at most the four longest tracks.

    Args:
        features: features of the video.
        count: total number of faces, divided among the tracks.
    """
    reachable = np.flatnonzero(
        (features.frame_index >= 0).all(axis=1) & (features.frame_index < MAX_FRAMES).all(axis=1)
    )
    tracks, sizes = np.unique(features.track_id[reachable], return_counts=True)
    longest = np.sort(tracks[np.argsort(-sizes, kind="stable")][:_MAX_TRACKS])
    wanted = []
    for track in longest.tolist():
        rows = reachable[features.track_id[reachable] == track]
        rows = rows[np.argsort(features.start_s[rows], kind="stable")]
        share = max(1, count // len(longest))
        for row in rows[np.unique(np.linspace(0, len(rows) - 1, min(share, len(rows))).round().astype(int))].tolist():
            shown = np.flatnonzero(features.frame_valid[row])
            step = int(shown[len(shown) // 2]) if len(shown) else 0
            frame, box = int(features.frame_index[row, step]), features.boxes[row, step]
            wanted.append(WantedCrop(frame, float(features.start_s[row]), track, box))
    return wanted


def cut_strip(source: str, wanted: Sequence[WantedCrop], *, source_fps: float | None = None) -> Strip:
    """Cut faces from a source video, decoding no further than the last of them.

    Args:
        source: path of a file or folder of frames; a URL is not downloaded.
        wanted: from `choose_crops`.
        source_fps: frame rate of a folder of frames.
    """
    if not wanted:
        return Strip()
    if "://" in source:
        return Strip(note="No crops: the source is a URL, and a report downloads nothing")
    if not Path(source).exists():
        return Strip(note=f"No crops: the source is no longer at {source}")
    by_frame: dict[int, list[int]] = {}
    for position, want in enumerate(wanted):
        by_frame.setdefault(want.frame_index, []).append(position)
    images: dict[int, str] = {}
    last = max(by_frame)
    try:
        with open_video(source, source_fps=source_fps if Path(source).is_dir() else None) as reader:
            for frame in reader:
                for position in by_frame.get(frame.index, ()):
                    if pixels := _cut(frame.rgb, wanted[position].box):
                        images[position] = pixels
                if frame.index >= last:
                    break
    except MarlinError as error:
        return Strip(note=f"No crops: the source can no longer be read: {error}")
    crops = tuple(
        Crop(want.time_s, want.track_id, images[position]) for position, want in enumerate(wanted) if position in images
    )
    missing = len(wanted) - len(crops)
    return Strip(crops, f"{missing} of {len(wanted)} crops cannot be cut: the source has changed" if missing else "")


def _cut(frame: NDArray[np.uint8], box: NDArray[np.float32]) -> str | None:
    """A crop as a data URI; None if the box cannot be of this frame."""
    limit = _MAX_BOX * max(frame.shape[:2])
    if not np.isfinite(box).all() or np.abs(box).max() > limit:
        return None
    square = box.round().astype(np.int64)
    if min(square[2] - square[0], square[3] - square[1]) < 1:
        return None
    return data_uri(crop_square(frame, square, CROP_PX), ".jpg")


def data_uri(pixels: NDArray[np.uint8], suffix: str) -> str:
    """Encode an RGB image (H, W, 3) as ".jpg" or ".png" for an `src` attribute."""
    import cv2

    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)
    kind = "jpeg" if suffix == ".jpg" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data.tobytes()).decode()}"
