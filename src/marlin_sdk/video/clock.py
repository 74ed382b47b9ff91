"""Presentation times of decoded pictures, whatever timestamps a file has."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple, Protocol

__all__ = ["DEFAULT_FPS", "MAX_JUMP_S", "Moment", "PictureClock"]

DEFAULT_FPS = 25.0
"""Assumed of a stream without timestamps and frame rate."""

MAX_JUMP_S = 600.0
"""Timestamps that jump ahead by more are wrong: no frame is displayed for so long."""

_RESTART_S = 1.0  # timestamps that go back by more have restarted; by less, they are inexact


class Picture(Protocol):
    """A decoded picture, as far as its time goes: an `av.VideoFrame`."""

    @property
    def pts(self) -> int | None:
        """Presentation timestamp, in units of the time base."""

    @property
    def dts(self) -> int | None:
        """Decoding timestamp of the packet that completed it."""

    @property
    def duration(self) -> int:
        """Declared display duration; 0 if unknown."""


class Moment(NamedTuple):
    """When a picture is displayed.

    Attributes:
        time_s: in seconds from the start of the file; never before the previous picture's.
        duration_s: how long, as far as the file declares it.
        gap_s: seconds between the end of the previous picture, as declared, and this one; 0 if they overlap.
    """

    time_s: float
    duration_s: float
    gap_s: float


class PictureClock:
    """Gives each picture its time, in display order.

    The time is the picture's pts. Where the first pictures' pts are missing or out of order (AVI, and files whose pts
    are in decoding order), it is the dts, as in FFmpeg's own tools, counted from the start of the stream. Without
    either, times follow from the frame rate.

    Attributes:
        warnings: timestamps that were corrected.
        is_untimed: whether a picture had no timestamp.
        step_s: seconds from one picture to the next, where nothing else says so.
        removed_s: seconds of jumps that were removed from the times.

    Args:
        time_base: seconds per unit of the timestamps.
        origin_s: the file's start time on its own clock.
        start_s: the stream's start time on the same clock; None if undeclared.
        fps: the stream's frame rate; None if unknown.
    """

    def __init__(self, time_base: Fraction, *, origin_s: float, start_s: float | None, fps: float | None) -> None:
        self.warnings: list[str] = []
        self.is_untimed = False
        self._base, self._shift_s = time_base, -origin_s
        self._start_s = origin_s if start_s is None else start_s
        step_s = 1 / (fps or DEFAULT_FPS)
        self.step_s = step_s if step_s <= MAX_JUMP_S else 1 / DEFAULT_FPS  # an average over timestamps that jump
        self.removed_s = 0.0
        self._by_dts = False
        self._last_s, self._last_dts = -self.step_s, -math.inf
        self._last_end_s: float | None = None  # as declared; None before the first picture

    def choose(self, pictures: Sequence[Picture]) -> None:
        """Choose between pts and dts by the first pictures."""
        pts = [picture.pts for picture in pictures if picture.pts is not None]
        dts = [picture.dts for picture in pictures if picture.dts is not None]
        rises = all(earlier < later for earlier, later in pairwise(dts))
        if not dts or not rises or (pts and all(earlier <= later for earlier, later in pairwise(pts))):
            return
        self._by_dts = True
        # The decoder's delay is no delay of the display: the first picture is shown when the stream starts.
        first_s = min(pts) * float(self._base) if pts else self._start_s
        self._shift_s += first_s - float(dts[0] * self._base)

    def read(self, picture: Picture) -> Moment:
        """The moment of the next picture."""
        expected_s = self._last_s + self.step_s
        time_s = self._corrected_s(picture, expected_s)
        gap_s = 0.0 if self._last_end_s is None else max(0.0, time_s - self._last_end_s)
        declared_s = float(picture.duration * self._base) if picture.duration else 0.0
        duration_s = declared_s if 0 < declared_s <= MAX_JUMP_S else self.step_s
        self._last_s, self._last_end_s = time_s, time_s + duration_s
        self._last_dts = self._last_dts if picture.dts is None else picture.dts
        return Moment(time_s, duration_s, gap_s)

    def _corrected_s(self, picture: Picture, expected_s: float) -> float:
        stamp = picture.dts if self._by_dts else picture.pts
        if stamp is None:
            self.is_untimed = self.is_untimed or not self._by_dts  # a flushed picture has no dts
            return expected_s
        time_s = float(stamp * self._base) + self._shift_s
        if time_s > expected_s + MAX_JUMP_S:
            jump_s = time_s - expected_s
            self.warnings.append(f"timestamps jump by {jump_s:.0f} s at {expected_s:.2f} s; the jump is removed")
            self._shift_s -= jump_s
            self.removed_s += jump_s
            return expected_s
        if time_s < self._last_s - _RESTART_S:
            if picture.dts is not None and -math.inf < self._last_dts < picture.dts:
                return expected_s  # out of order: the stream itself goes on
            self.warnings.append(f"timestamps restart at {expected_s:.2f} s; times continue from there")
            self._shift_s += expected_s - time_s
            return expected_s
        return max(time_s, self._last_s)
