"""Which frames belong to which window: index arithmetic only, without decoding.

A plan counts in steps. A step is a sampled frame: the frames 0, 2, 4, ... of the source at `sample_rate=2`, or a clock
tick when resampling by `fps`. Plans work while the number of steps is still unknown, so that a live source's windows
can be emitted as soon as their last frame has arrived.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from marlin_sdk.config import ExtractionConfig, Tail

__all__ = [
    "ReferenceWindows",
    "TimedFrame",
    "Window",
    "WindowPlan",
    "Windows",
    "count_windows",
    "sample",
    "sample_by_index",
    "sample_by_time",
    "window_plan",
]


@dataclass(frozen=True)
class Window:
    """The steps of one clip.

    Attributes:
        steps: one index for each frame of the clip, non-decreasing.
        valid: False where the last step is repeated because the video has ended.
    """

    steps: tuple[int, ...]
    valid: tuple[bool, ...]


class WindowPlan(Protocol):
    """A rule that defines the windows of a video."""

    def ready(self, index: int, num_steps: int) -> Window | None:
        """Window `index` if the first `num_steps` steps determine it, else None. More steps may follow."""

    def rest(self, index: int, num_steps: int) -> Window | None:
        """Window `index` of a video that has ended after `num_steps` steps; None if there is no such window."""

    def start(self, index: int) -> int:
        """The first step of window `index`."""

    def count(self, num_steps: int) -> int:
        """Number of windows of a video of `num_steps` steps."""


@dataclass(frozen=True)
class Windows:
    """Windows of consecutive steps.

    Attributes:
        clip_steps: steps in a window, 16.
        stride: steps from the start of one window to the next.
        tail: "pad" adds a window for the steps after the last full window, and repeats its last frame; "drop" discards
            them.
    """

    clip_steps: int = 16
    stride: int = 16
    tail: Tail = "pad"

    def ready(self, index: int, num_steps: int) -> Window | None:
        """See `WindowPlan.ready`."""
        start = self.start(index)
        return self._window(start, start + self.clip_steps) if start + self.clip_steps <= num_steps else None

    def rest(self, index: int, num_steps: int) -> Window | None:
        """See `WindowPlan.rest`."""
        start = self.start(index)
        covered = self.start(index - 1) + self.clip_steps if index else 0
        if self.tail == "drop" or start >= num_steps or covered >= num_steps:
            return self.ready(index, num_steps)
        return self._window(start, num_steps)

    def start(self, index: int) -> int:
        """See `WindowPlan.start`."""
        return index * self.stride

    def count(self, num_steps: int) -> int:
        """See `WindowPlan.count`."""
        full = max(0, (num_steps - self.clip_steps) // self.stride + 1)
        return full + (self.rest(full, num_steps) is not None)

    def _window(self, start: int, end: int) -> Window:
        end = min(end, start + self.clip_steps)
        steps = tuple(min(step, end - 1) for step in range(start, start + self.clip_steps))
        return Window(steps, tuple(step < end for step in range(start, start + self.clip_steps)))


@dataclass(frozen=True)
class ReferenceWindows:
    """The windows of marlin-pytorch 0.3.4, bugs included; a step is a source frame.

    More than 16 * sample_rate frames: starts `range(0, T - 16 * sample_rate, stride * sample_rate)`, end-exclusive, so
    the tail is lost. 17 to 16 * sample_rate frames: the first 16 consecutive frames. Up to 16: all, the last one
    repeated.
    """

    clip_steps: int = 16
    stride: int = 16
    sample_rate: int = 2

    def ready(self, index: int, num_steps: int) -> Window | None:
        """See `WindowPlan.ready`."""
        start = self.start(index)
        span = self.clip_steps * self.sample_rate
        if start + span >= num_steps:
            return None
        return Window(tuple(range(start, start + span, self.sample_rate)), (True,) * self.clip_steps)

    def rest(self, index: int, num_steps: int) -> Window | None:
        """See `WindowPlan.rest`."""
        if index or num_steps == 0 or num_steps > self.clip_steps * self.sample_rate:
            return self.ready(index, num_steps)
        steps = range(self.clip_steps)
        return Window(tuple(min(step, num_steps - 1) for step in steps), tuple(step < num_steps for step in steps))

    def start(self, index: int) -> int:
        """See `WindowPlan.start`."""
        return index * self.stride * self.sample_rate

    def count(self, num_steps: int) -> int:
        """See `WindowPlan.count`."""
        full = max(0, -(-(num_steps - self.clip_steps * self.sample_rate) // (self.stride * self.sample_rate)))
        return full or int(num_steps > 0)

    def uses(self, frame_index: int) -> bool:
        """Whether any window may use this source frame; the others need not be converted."""
        return frame_index < self.clip_steps or frame_index % self.sample_rate == 0


def count_windows(num_frames: int, config: ExtractionConfig, clip_steps: int = 16) -> int:
    """Number of windows of a video of `num_frames` source frames; not for `fps=`, which depends on their times."""
    steps = num_frames if config.compat else -(-num_frames // config.sample_rate)
    return window_plan(config, clip_steps).count(steps)


def window_plan(config: ExtractionConfig, clip_steps: int = 16) -> Windows | ReferenceWindows:
    """The window plan for the settings."""
    if config.compat:
        return ReferenceWindows(clip_steps, config.stride, config.sample_rate)
    return Windows(clip_steps, config.stride, config.tail)


class TimedFrame(Protocol):
    """A frame as far as sampling uses it."""

    @property
    def index(self) -> int:
        """Number of the frame in its source, from 0."""

    @property
    def time_s(self) -> float:
        """Presentation time."""

    @property
    def duration_s(self) -> float:
        """Display duration."""


FrameT = TypeVar("FrameT", bound=TimedFrame)


def sample(frames: Iterable[FrameT], config: ExtractionConfig) -> Iterator[FrameT]:
    """The frames that become steps of windows: by time if the settings say `fps`, else by index."""
    return sample_by_time(frames, config.fps) if config.fps else sample_by_index(frames, config.sample_rate)


def sample_by_index(frames: Iterable[FrameT], sample_rate: int) -> Iterator[FrameT]:
    """Every `sample_rate`-th frame, from the first."""
    first: int | None = None
    for frame in frames:
        first = frame.index if first is None else first
        if (frame.index - first) % sample_rate == 0:
            yield frame


def sample_by_time(frames: Iterable[FrameT], fps: float) -> Iterator[FrameT]:
    """The frame nearest in time to each tick of a clock that starts with the first frame.

    Frames of a slower source are repeated, those of a faster one dropped; the last tick lies within the last frame.
    """
    previous: FrameT | None = None
    origin_s, tick = 0.0, 0
    for frame in frames:
        if previous is None:
            origin_s = frame.time_s
        else:
            middle_s = (previous.time_s + frame.time_s) / 2
            while origin_s + tick / fps < middle_s - 1e-6:
                yield previous
                tick += 1
        previous = frame
    if previous is not None:
        end_s = previous.time_s + previous.duration_s
        while tick == 0 or origin_s + tick / fps < end_s - 1e-6:
            yield previous
            tick += 1
