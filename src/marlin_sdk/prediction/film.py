"""A film of a video beside the scores that a head gives it: the faces in their boxes, the curves as time passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.features import VideoFeatures
from marlin_sdk.prediction.chart import COLOURS, INK, Chart, are_together, lines_of, write_text
from marlin_sdk.prediction.result import VideoPrediction
from marlin_sdk.video.reader import VideoReader, VideoSource, open_video
from marlin_sdk.video.writer import write_video

__all__ = ["MAX_LABELS", "write_film"]

MAX_LABELS = 3
"""Labels that a film has room for."""

_HEIGHT, _MIN_WIDTH, _MAX_WIDTH = 360, 240, 1280  # of the picture, in pixels
_CHART_WIDTH, _GAP, _HEADING, _BOX_PX = 480, 4, 28, 2
_LINES = {1: 6, 2: 4, 3: 2}  # of a chart, by the number of charts
_FPS = 25.0  # of a source that does not say

Picture = NDArray[np.uint8]


def write_film(
    video: VideoSource, prediction: VideoPrediction, path: Path, *, source_fps: float | None = None
) -> list[str]:
    """Write a film, frame by frame: the video at its own frame rate on the left, the scores on the right.

    Args:
        video: the one that was predicted; it is read a second time.
        prediction: of it.
        path: .mp4, .mkv or .mov.
        source_fps: as in `ExtractionConfig`.
    Returns:
        The labels that are shown: the first `MAX_LABELS`.
    Raises:
        ConfigError: another suffix.
        FeatureFileError: it cannot be written.
        MarlinError: the video cannot be read.
    """
    labels = list(prediction.labels)[:MAX_LABELS]
    with open_video(video, source_fps=source_fps) as reader:
        write_video(_frames(reader, prediction, labels), path, fps=reader.fps or _FPS)
    return labels


def _frames(reader: VideoReader, prediction: VideoPrediction, labels: Sequence[str]) -> Iterator[Picture]:
    duration_s = max(reader.duration_s or 0.0, float(prediction.features.end_s.max()))
    charts = [_chart(prediction, label, len(labels), duration_s) for label in labels]
    boxes = _Boxes(prediction.features)
    gap = np.full((_HEIGHT, _GAP, 3), 255, dtype=np.uint8)
    for frame in reader:
        picture, scale = _scaled(frame.rgb)
        boxes.draw(picture, scale, frame.index)
        frame.release()
        charted = np.concatenate([chart.draw(frame.time_s) for chart in charts])
        below = np.concatenate([_framed(picture), gap, charted], axis=1)
        heading = np.full((_HEADING, below.shape[1], 3), 255, dtype=np.uint8)
        write_text(heading, f"{Path(prediction.source).name[:40]}  {frame.time_s:.2f} s", 8, 19)
        yield np.concatenate([heading, below])


def _chart(prediction: VideoPrediction, label: str, count: int, duration_s: float) -> Chart:
    title, lines = lines_of(prediction, label, most=_LINES[count])
    return Chart(
        title,
        lines,
        width=_CHART_WIDTH,
        height=_HEIGHT // count,
        duration_s=duration_s,
        is_probability=bool(prediction.labels[label].scores),
    )


def _scaled(picture: Picture) -> tuple[Picture, float]:
    """A picture scaled to the film's height, or its greatest width, and the factor."""
    import cv2

    height, width = picture.shape[:2]
    scale = min(_HEIGHT / height, _MAX_WIDTH / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.ascontiguousarray(small, dtype=np.uint8), scale


def _framed(picture: Picture) -> Picture:
    """A picture on white where it is too narrow or too flat, an even number of pixels wide."""
    canvas = np.full((_HEIGHT, max(_MIN_WIDTH, picture.shape[1] // 2 * 2), 3), 255, dtype=np.uint8)
    picture = picture[:, : canvas.shape[1]]
    top, left = (_HEIGHT - picture.shape[0]) // 2, (canvas.shape[1] - picture.shape[1]) // 2
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


class _Boxes:
    """The boxes of the faces, on the frames between those that were sampled too."""

    def __init__(self, features: VideoFeatures) -> None:
        self._tracks: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        for track, rows in features.tracks().items():
            if track < 0:  # the frames were not cropped
                continue
            shown, first = np.unique(rows.frame_index[rows.frame_valid], return_index=True)
            self._tracks.append((shown, rows.boxes[rows.frame_valid][first]))
        self._by_face = are_together(features)
        gaps = np.diff(features.frame_index, axis=1)
        self._step = int(gaps.max(initial=1))

    def draw(self, picture: Picture, scale: float, frame: int) -> None:
        """Draw the boxes that are known at a frame, in place, on its picture scaled by a factor."""
        import cv2

        for index, (frames, boxes) in enumerate(self._tracks):
            place = int(np.searchsorted(frames, frame, side="right")) - 1
            if place < 0 or frame - frames[place] >= self._step:
                continue
            x1, y1, x2, y2 = (round(float(value) * scale) for value in boxes[place])
            colour = COLOURS[index % len(COLOURS)] if self._by_face else INK
            cv2.rectangle(picture, (x1, y1), (x2, y2), (255, 255, 255), _BOX_PX + 2, cv2.LINE_AA)
            cv2.rectangle(picture, (x1, y1), (x2, y2), colour, _BOX_PX, cv2.LINE_AA)
