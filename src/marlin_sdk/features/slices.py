"""Slices of windows as rows: the arithmetic of `VideoFeatures.by_time`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ShapeError

__all__ = ["slice_rows", "step_times"]

_PER_FRAME = ("frame_index", "frame_valid", "boxes", "face_score")


def slice_rows(arrays: Mapping[str, NDArray[Any]], fps: object) -> dict[str, NDArray[Any]]:
    """Split each row into its slices, without those in which no frame is valid.

    Args:
        arrays: those of `VideoFeatures`, with features (N, slices, D).
        fps: of the video; None if unknown.
    Returns:
        The same arrays, with a row for each slice, and as many frames in it as belong to a slice.
    Raises:
        ShapeError: the frames of a window cannot be divided among the slices.
    """
    rows, slices, dim = arrays["features"].shape
    steps = arrays["frame_index"].shape[1]
    if not slices or steps % slices:
        raise ShapeError(f"windows of {steps} frames do not divide into {slices} slices")
    size = steps // slices
    begin_s, finish_s = step_times(
        arrays["start_s"], arrays["end_s"], arrays["frame_index"], arrays["frame_valid"], fps
    )
    split = {
        "features": arrays["features"].reshape(rows * slices, dim),
        "start_s": begin_s[:, ::size].reshape(-1),
        "end_s": finish_s[:, size - 1 :: size].reshape(-1),
        "track_id": np.repeat(arrays["track_id"], slices),
    }
    for name in _PER_FRAME:
        split[name] = arrays[name].reshape(rows * slices, size, *arrays[name].shape[2:])
    shown = split["frame_valid"].any(axis=1)
    return {name: values[shown] for name, values in split.items()}


def step_times(
    start_s: NDArray[np.float64],
    end_s: NDArray[np.float64],
    frame_index: NDArray[np.int64],
    frame_valid: NDArray[np.bool_],
    fps: object,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """When the frames of each window are shown, spread evenly over its real steps.

    A window lasts from the start of its first frame to the end of its last real one: (n - 1) * q + 1 frames, if q
    frames lie from one of its n real steps to the next. q is told by the numbers of its valid frames. All steps are
    real, unless the window ends with repeats: then as many as its duration has room for at the video's frame rate (if
    that is unknown, at that of the longest window), but no fewer than are valid.

    Args:
        start_s: float64 (N,), see `FaceWindow`.
        end_s: float64 (N,).
        frame_index: int64 (N, steps).
        frame_valid: bool (N, steps).
        fps: of the video; None if unknown.
    Returns:
        float64 (N, steps) twice: the start of each step, and its end, which is where the next one starts or the window
        ends. Repeats after the last real step lie behind that end.
    """
    rows, steps = frame_index.shape
    span_s = end_s - start_s
    first = frame_valid.argmax(axis=1)
    last = steps - 1 - frame_valid[:, ::-1].argmax(axis=1)
    every = np.arange(rows)
    frames = frame_index[every, last] - frame_index[every, first]
    stride = np.where(last > first, frames / np.maximum(last - first, 1), 1.0)  # q
    stride = np.where(stride > 0, stride, 1.0)  # one frame throughout: each step is as long as the next
    if isinstance(fps, int | float) and fps > 0:
        frame_s = np.full(rows, 1 / fps)
    else:
        frame_s = np.full(rows, (span_s / ((steps - 1) * stride + 1)).max(initial=0.0) or 1.0)
    room = np.nan_to_num(np.round((span_s / frame_s - 1) / stride)) + 1
    count = np.where(last == steps - 1, steps, room.clip(last + 1, steps))
    last_share = np.minimum(1 / stride, 1.0)  # of every second frame, the last one is shown for half a step
    step_s = span_s / (count - 1 + last_share)
    begin_s = start_s[:, None] + step_s[:, None] * np.arange(steps)
    return begin_s, np.minimum(begin_s + step_s[:, None], end_s[:, None])
