"""A chart of scores over a video's time that is drawn further with each frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.features import VideoFeatures
from marlin_sdk.features.alignment import closed_ends
from marlin_sdk.prediction.result import LabelPrediction, VideoPrediction

__all__ = ["COLOURS", "INK", "Chart", "Line", "are_together", "lines_of", "write_text"]

INK = (40, 40, 40)
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
"""RGB; Okabe and Ito's, that colour-blind people tell apart."""

_GRID, _AXIS = (225, 225, 225), (120, 120, 120)
_LEFT, _RIGHT, _ROW, _FOOT = 44, 14, 18, 24  # pixels around the curves; of a row of text
_COLUMNS = 2  # of the legend

Colour = tuple[int, int, int]
Canvas = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Line:
    """A score over time.

    Attributes:
        name: in the legend.
        colour: RGB.
        start_s: float64 (N,), the windows that the scores are of, in order of time.
        end_s: float64 (N,).
        values: float64 (N,).
    """

    name: str
    colour: Colour
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    values: NDArray[np.float64]

    @cached_property
    def _knots(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """From centre to centre of windows; level to the ends; NaN where no window is."""
        times: list[float] = []
        values: list[float] = []
        last_s = -np.inf
        for start, end, value in zip(self.start_s.tolist(), self.end_s.tolist(), self.values.tolist(), strict=True):
            if start > last_s + 1e-6:  # a gap
                if times:
                    times += [last_s, last_s, start]
                    values += [values[-1], np.nan, np.nan]
                times.append(start)
                values.append(value)
            times.append((start + end) / 2)
            values.append(value)
            last_s = max(last_s, end)
        return np.array([*times, last_s]), np.array([*values, *values[-1:]])

    def at(self, time_s: float) -> float:
        """The score at a moment: between the centres of two windows, a straight line; NaN where no window is."""
        times, values = self._knots
        return float(np.interp(time_s, times, values, left=np.nan, right=np.nan))


def lines_of(prediction: VideoPrediction, label: str, *, most: int) -> tuple[str, list[Line]]:
    """The lines that show a label, and their title.

    Faces that are seen one after the other have a line for each class, of two classes for the second. Of faces that are
    seen together each has a line, for the class that was predicted for the video.

    Args:
        prediction: of a video with at least one window.
        label: one of its labels.
        most: lines; of more, those with the highest mean are shown, and the title says so.
    """
    features = prediction.features
    end_s = closed_ends(features.start_s, features.end_s, features.frame_index.shape[1])
    order = np.lexsort((features.track_id, features.start_s))
    verdict, said = prediction.labels[label], [window.labels[label] for window in prediction.timeline]
    if are_together(features):
        kind, title = "faces", f"{label}: probability of {verdict.value}" if verdict.scores else label
        names = {f"face {track}": order[features.track_id[order] == track] for track in prediction.tracks}
        wanted = {name: str(verdict.value) for name in names}
    else:
        kind, title = "classes", label
        shown = list(verdict.scores) or [label]
        shown = shown[1:] if len(shown) == 2 else shown
        names, wanted = dict.fromkeys(shown, order), {name: name for name in shown}
    columns = {name: np.array([_score(said[row], wanted[name]) for row in rows]) for name, rows in names.items()}
    by_mean = sorted(columns, key=lambda name: -float(columns[name].mean()))[:most]
    kept = [name for name in columns if name in by_mean]
    if len(kept) < len(columns):
        title += f" ({len(kept)} of {len(columns)} {kind})"
    coloured = list(columns) if kind == "faces" else kept  # a face's line has the colour of its box
    lines = [
        Line(
            name,
            COLOURS[coloured.index(name) % len(COLOURS)],
            features.start_s[names[name]],
            end_s[names[name]],
            columns[name],
        )
        for name in kept
    ]
    return title, lines


def are_together(features: VideoFeatures) -> bool:
    """Whether some faces are seen at the same time."""
    return bool((np.diff(np.sort(features.start_s)) <= 0).any())


def _score(label: LabelPrediction, wanted: str) -> float:
    return label.scores[wanted] if label.scores else float(label.value)


class Chart:
    """Curves on a white canvas, drawn from frame to frame.

    Args:
        title: above the legend.
        lines: the curves.
        width: of the canvas, in pixels.
        height: in pixels.
        duration_s: the time that is the right end.
        is_probability: the axis is 0 to 1; else it holds all values.
    """

    def __init__(
        self,
        title: str,
        lines: Sequence[Line],
        *,
        width: int,
        height: int,
        duration_s: float,
        is_probability: bool,
    ) -> None:
        self._title, self._lines = title, lines
        self._duration_s = duration_s
        self._low, self._high = (0.0, 1.0) if is_probability else _range_of(lines)
        rows = -(-len(lines) // _COLUMNS)
        self._top, self._bottom = _ROW * (1 + rows) + 8, height - _FOOT
        self._left, self._right = _LEFT, width - _RIGHT
        self._canvas = np.full((height, width, 3), 255, dtype=np.uint8)
        self._axes()
        self._last: list[tuple[int, int] | None] = [None] * len(lines)

    def draw(self, time_s: float) -> Canvas:
        """The chart at a moment, which must not be before that of the last call.

        Returns:
            uint8 (height, width, 3), RGB.
        """
        import cv2

        values = [line.at(time_s) for line in self._lines]
        for index, value in enumerate(values):
            point = None if np.isnan(value) else (self._x(time_s), self._y(value))
            if point is not None:
                cv2.line(self._canvas, self._last[index] or point, point, self._lines[index].colour, 2, cv2.LINE_AA)
            self._last[index] = point
        picture: Canvas = self._canvas.copy()
        x, column = self._x(time_s), (self._right - self._left) // _COLUMNS
        cv2.line(picture, (x, self._top), (x, self._bottom), _AXIS, 1)
        for index, (line, value) in enumerate(zip(self._lines, values, strict=True)):
            if not np.isnan(value):
                cv2.circle(picture, (x, self._y(value)), 4, line.colour, -1, cv2.LINE_AA)
            text = f"{line.name[:20]} {'-' if np.isnan(value) else format(value, '.2f')}"
            row, place = divmod(index, _COLUMNS)
            write_text(picture, text, self._left + place * column, _ROW * (row + 2), colour=line.colour)
        return picture

    def _axes(self) -> None:
        import cv2

        write_text(self._canvas, self._title[:60], self._left, _ROW)
        for share in (0.0, 0.5, 1.0):
            value = self._low + share * (self._high - self._low)
            cv2.line(self._canvas, (self._left, self._y(value)), (self._right, self._y(value)), _GRID, 1)
            write_text(self._canvas, f"{value:.3g}", 4, self._y(value) + 4, scale=0.4)
        write_text(self._canvas, "0 s", self._left, self._bottom + 16, scale=0.4)
        write_text(self._canvas, f"{self._duration_s:.1f} s", self._right - 46, self._bottom + 16, scale=0.4)

    def _x(self, time_s: float) -> int:
        share = min(max(time_s / self._duration_s, 0.0), 1.0)
        return round(self._left + share * (self._right - self._left))

    def _y(self, value: float) -> int:
        share = min(max((value - self._low) / (self._high - self._low), 0.0), 1.0)
        return round(self._bottom - share * (self._bottom - self._top))


def _range_of(lines: Sequence[Line]) -> tuple[float, float]:
    values = np.concatenate([line.values for line in lines])
    low, high = float(values.min()), float(values.max())
    margin = (high - low) / 20 or abs(high) / 20 or 1.0
    return low - margin, high + margin


def write_text(picture: Canvas, text: str, left: int, base: int, *, colour: Colour = INK, scale: float = 0.5) -> None:
    """Write on a picture, in place; OpenCV's font knows ASCII, and shows "?" for the rest."""
    import cv2

    plain = text.encode("ascii", "replace").decode()
    cv2.putText(picture, plain, (left, base), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
