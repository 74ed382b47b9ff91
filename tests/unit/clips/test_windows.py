"""Windows: no sampled frame is lost, streaming gives the same windows, and compat those of the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from marlin_sdk.clips.windows import (
    ReferenceWindows,
    Window,
    WindowPlan,
    Windows,
    count_windows,
    sample_by_index,
    sample_by_time,
    window_plan,
)
from marlin_sdk.config import ExtractionConfig

LENGTHS = st.integers(0, 400)
STRIDES = st.integers(1, 40)


@dataclass(frozen=True)
class Shown:
    """A frame as far as sampling uses it."""

    index: int
    time_s: float
    duration_s: float = 0.04


def steady(num_frames: int, fps: float) -> list[Shown]:
    """Frames of a constant rate."""
    return [Shown(index, index / fps, 1 / fps) for index in range(num_frames)]


def known(plan: WindowPlan, num_steps: int) -> list[Window]:
    """All windows of a video whose length is known."""
    windows: list[Window] = []
    while window := plan.ready(len(windows), num_steps) or plan.rest(len(windows), num_steps):
        windows.append(window)
    return windows


def streamed(plan: WindowPlan, num_steps: int) -> list[tuple[Window, int]]:
    """All windows in streaming, each with the number of steps seen by then."""
    windows: list[tuple[Window, int]] = []
    for seen in range(1, num_steps + 1):
        while window := plan.ready(len(windows), seen):
            windows.append((window, seen))
    while window := plan.rest(len(windows), num_steps):
        windows.append((window, num_steps))
    return windows


def reference_starts(num_frames: int, stride: int, sample_rate: int) -> list[int]:
    """The starts of marlin-pytorch 0.3.4, as `../shared/design/domain.md` writes them down."""
    return list(range(0, num_frames - 16 * sample_rate, stride * sample_rate))


@given(num_steps=LENGTHS, stride=st.integers(1, 16))
def test_padding_covers_every_sampled_frame(num_steps: int, stride: int) -> None:
    windows = known(Windows(stride=stride, tail="pad"), num_steps)

    real = {step for window in windows for step, ok in zip(window.steps, window.valid, strict=True) if ok}
    assert real == set(range(num_steps))


@given(num_steps=LENGTHS, stride=STRIDES)
def test_padding_adds_no_window_without_new_frames(num_steps: int, stride: int) -> None:
    windows = known(Windows(stride=stride, tail="pad"), num_steps)

    for before, window in pairwise(windows):
        assert window.steps[-1] > before.steps[-1]


@given(num_steps=LENGTHS, stride=STRIDES)
def test_only_the_last_window_is_padded_and_it_repeats_its_last_step(num_steps: int, stride: int) -> None:
    windows = known(Windows(stride=stride, tail="pad"), num_steps)

    for index, window in enumerate(windows):
        count = sum(window.valid)
        start = index * stride
        assert window.valid == (True,) * count + (False,) * (16 - count)
        assert window.steps == tuple(range(start, start + count)) + (start + count - 1,) * (16 - count)
        assert count == 16 or (index == len(windows) - 1 and start + count == num_steps)


@given(num_steps=LENGTHS, stride=STRIDES)
def test_drop_keeps_exactly_the_full_windows(num_steps: int, stride: int) -> None:
    windows = known(Windows(stride=stride, tail="drop"), num_steps)

    assert [window.steps for window in windows] == [
        tuple(range(start, start + 16)) for start in range(0, num_steps - 15, stride)
    ]
    assert all(all(window.valid) for window in windows)


PLANS = st.one_of(
    st.builds(Windows, stride=STRIDES, tail=st.sampled_from(["pad", "drop"])),
    st.builds(ReferenceWindows, stride=STRIDES, sample_rate=st.integers(1, 5)),
)


@given(plan=PLANS, num_steps=LENGTHS)
@example(plan=ReferenceWindows(), num_steps=65)
def test_a_stream_gives_the_windows_of_the_known_length(plan: WindowPlan, num_steps: int) -> None:
    assert [window for window, _ in streamed(plan, num_steps)] == known(plan, num_steps)


@given(plan=PLANS, num_steps=LENGTHS)
def test_streaming_emits_a_window_as_soon_as_it_is_complete(plan: WindowPlan, num_steps: int) -> None:
    # The reference's starts are end-exclusive: one frame after the last is needed to know that a window exists.
    late = plan.sample_rate if isinstance(plan, ReferenceWindows) else 0
    for window, seen in streamed(plan, num_steps):
        assert max(window.steps) < seen
        assert seen in (num_steps, max(window.steps) + 1 + late)


@given(plan=PLANS, num_steps=LENGTHS)
def test_no_window_needs_a_step_before_its_start(plan: WindowPlan, num_steps: int) -> None:
    for index, window in enumerate(known(plan, num_steps)):
        assert window.steps[0] == plan.start(index)
        assert list(window.steps) == sorted(window.steps)
        assert len(window.steps) == len(window.valid) == 16


@given(plan=PLANS, num_steps=LENGTHS)
def test_count_is_the_number_of_windows(plan: WindowPlan, num_steps: int) -> None:
    assert plan.count(num_steps) == len(known(plan, num_steps))


def test_a_huge_declared_length_is_counted_quickly() -> None:
    assert count_windows(2**62, ExtractionConfig()) == 2**57
    assert count_windows(2**62, ExtractionConfig(compat="marlin_pytorch")) == 2**57 - 1


@pytest.mark.parametrize(
    ("num_frames", "pad", "drop"),
    [(0, 0, 0), (1, 1, 0), (10, 1, 0), (31, 1, 1), (32, 1, 1), (33, 2, 1), (60, 2, 1), (64, 2, 2), (65, 3, 2)],
)
def test_videos_have_the_documented_windows(num_frames: int, pad: int, drop: int) -> None:
    assert count_windows(num_frames, ExtractionConfig()) == pad
    assert count_windows(num_frames, ExtractionConfig(tail="drop")) == drop


def test_the_second_window_of_60_frames_ends_in_two_repeats() -> None:
    first, second = known(window_plan(ExtractionConfig()), 30)

    assert first == Window(tuple(range(16)), (True,) * 16)
    assert second == Window((*range(16, 30), 29, 29), (True,) * 14 + (False,) * 2)


@given(num_frames=st.integers(33, 2000), stride=STRIDES)
@example(num_frames=64, stride=16)
@example(num_frames=65, stride=16)
def test_compat_has_the_starts_and_frames_of_the_reference(num_frames: int, stride: int) -> None:
    plan = window_plan(ExtractionConfig(compat="marlin_pytorch", stride=stride))

    assert [window.steps for window in known(plan, num_frames)] == [
        tuple(start + 2 * k for k in range(16)) for start in reference_starts(num_frames, stride, 2)
    ]


@given(num_frames=st.integers(1, 2000), stride=STRIDES, sample_rate=st.integers(1, 6))
def test_compat_follows_the_reference_at_every_rate(num_frames: int, stride: int, sample_rate: int) -> None:
    windows = known(ReferenceWindows(stride=stride, sample_rate=sample_rate), num_frames)

    if num_frames > 16 * sample_rate:
        expected = [
            tuple(start + sample_rate * k for k in range(16))
            for start in reference_starts(num_frames, stride, sample_rate)
        ]
    elif num_frames <= 16:
        expected = [(*range(num_frames), *[num_frames - 1] * (16 - num_frames))]
    else:
        expected = [tuple(range(16))]
    assert [window.steps for window in windows] == expected


def test_compat_loses_the_window_that_ends_with_the_video() -> None:
    compat = ExtractionConfig(compat="marlin_pytorch")

    assert count_windows(64, compat) == 1
    assert count_windows(65, compat) == 2
    assert count_windows(0, compat) == 0


def test_compat_ignores_the_sample_rate_up_to_32_frames() -> None:
    plan = window_plan(ExtractionConfig(compat="marlin_pytorch"))

    assert known(plan, 20) == [Window(tuple(range(16)), (True,) * 16)]
    assert known(plan, 32) == [Window(tuple(range(16)), (True,) * 16)]
    assert known(plan, 10) == [Window((*range(10), *[9] * 6), (True,) * 10 + (False,) * 6)]


@given(num_frames=st.integers(1, 300), stride=STRIDES, sample_rate=st.integers(1, 6))
def test_compat_uses_every_frame_that_its_windows_hold(num_frames: int, stride: int, sample_rate: int) -> None:
    plan = ReferenceWindows(stride=stride, sample_rate=sample_rate)

    # With the exact length, and with only the extent of the used frames known.
    last_used = max(frame for frame in range(num_frames) if plan.uses(frame))
    assert known(plan, last_used + 1) == known(plan, num_frames)
    assert all(plan.uses(step) for window in known(plan, num_frames) for step in window.steps)


@given(num_frames=LENGTHS, sample_rate=st.integers(1, 9))
def test_sampling_by_index_takes_every_kth_frame_from_the_first(num_frames: int, sample_rate: int) -> None:
    frames = steady(num_frames, 25)

    assert [frame.index for frame in sample_by_index(frames, sample_rate)] == list(range(0, num_frames, sample_rate))


@given(num_frames=st.integers(1, 200), fps=st.sampled_from([10.0, 23.976, 25.0, 29.97, 60.0]))
def test_resampling_to_its_own_rate_gives_each_frame_once(num_frames: int, fps: float) -> None:
    frames = steady(num_frames, fps)

    assert list(sample_by_time(frames, fps)) == frames


def test_a_fast_source_skips_and_a_slow_one_repeats() -> None:
    assert [frame.index for frame in sample_by_time(steady(50, 50), 12.5)] == list(range(0, 50, 4))
    assert [frame.index for frame in sample_by_time(steady(4, 10), 20)] == [0, 1, 1, 2, 2, 3, 3, 3]


GAPS = st.lists(st.floats(0.001, 0.7), min_size=1, max_size=40)


@given(gaps=GAPS, fps=st.sampled_from([5.0, 12.5, 25.0, 30.0]), start_s=st.floats(0, 10))
def test_resampling_gives_each_tick_the_frame_nearest_in_time(gaps: list[float], fps: float, start_s: float) -> None:
    times = [start_s]
    for gap in gaps:
        times.append(times[-1] + gap)
    frames = [Shown(index, time, later - time) for index, (time, later) in enumerate(pairwise(times))]

    sampled = list(sample_by_time(frames, fps))

    assert abs(len(sampled) - (times[-1] - start_s) * fps) <= 1
    for tick, frame in enumerate(sampled):
        tick_s = start_s + tick / fps
        nearest_s = min(abs(other.time_s - tick_s) for other in frames)
        assert abs(frame.time_s - tick_s) == pytest.approx(nearest_s, abs=1e-5)


def test_sampling_by_time_is_lazy() -> None:
    taken: list[int] = []

    def source() -> Iterator[Shown]:
        for frame in steady(1000, 25):
            taken.append(frame.index)
            yield frame

    assert next(sample_by_time(source(), 25)).index == 0
    assert taken == [0, 1]


def test_no_frames_give_no_steps() -> None:
    assert list(sample_by_time([], 25)) == []
    assert list(sample_by_index([], 2)) == []


def test_a_single_frame_without_a_duration_is_still_a_step() -> None:
    only = Shown(0, 3.0, 0.0)

    assert list(sample_by_time([only], 25)) == [only]
