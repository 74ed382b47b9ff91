"""Validation of clips."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.making import TINY

from marlin_sdk.errors import ShapeError
from marlin_sdk.runtime.inputs import as_clips

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 16, 32, 32, 3), dtype=np.uint8)
FLOATS = (PIXELS.transpose(0, 4, 1, 2, 3) / 255).astype(np.float32)


@pytest.mark.parametrize("as_tensor", [True, False])
@pytest.mark.parametrize("values", [PIXELS, FLOATS])
def test_clips_are_returned_unchanged_with_a_batch_dimension(values: NDArray[Any], as_tensor: bool) -> None:
    given_values = torch.from_numpy(values) if as_tensor else values
    clips, batched = as_clips(given_values, TINY)
    assert batched
    assert torch.equal(clips, torch.from_numpy(values))
    one, batched = as_clips(given_values[1], TINY)
    assert not batched
    assert torch.equal(one, torch.from_numpy(values[1:2]))


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_floats_of_any_width_become_float32(dtype: type) -> None:
    clips, _ = as_clips(FLOATS.astype(dtype), TINY)
    assert clips.dtype == torch.float32
    assert torch.allclose(clips, torch.from_numpy(FLOATS), atol=1e-3)


def test_negative_strides_and_read_only_memory_are_accepted() -> None:
    """frames[..., ::-1] is how OpenCV's BGR becomes RGB, and a memory-mapped file cannot be written."""
    clips, _ = as_clips(PIXELS[..., ::-1], TINY)
    assert torch.equal(clips, torch.from_numpy(PIXELS[..., ::-1].copy()))
    frozen = FLOATS.copy()
    frozen.setflags(write=False)
    clips, _ = as_clips(frozen, TINY)
    clips.zero_()
    assert np.array_equal(frozen, FLOATS)


def test_list_of_frames_is_a_clip() -> None:
    frames: Any = list(PIXELS[0])
    clips, batched = as_clips(frames, TINY)
    assert not batched
    assert torch.equal(clips[0], torch.from_numpy(PIXELS[0]))


@given(st.floats(allow_nan=True, allow_infinity=True, width=32))
def test_floats_outside_of_0_to_1_are_refused(value: float) -> None:
    clip = torch.full(TINY.clip_shape, 0.5)
    clip[1, 3, 7, 11] = value
    if -1e-4 <= value <= 1 + 1e-4:
        assert as_clips(clip, TINY)[0][0, 1, 3, 7, 11] == value
    else:
        with pytest.raises(ShapeError, match=r"lie in \[0, 1\]; got values from .* divide 8-bit pixels by 255"):
            as_clips(clip, TINY)


def test_nan_is_named() -> None:
    with pytest.raises(ShapeError, match="got values from nan to nan"):
        as_clips(np.full(TINY.clip_shape, np.nan, dtype=np.float32), TINY)


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (FLOATS.transpose(0, 2, 3, 4, 1), r"a float clip has shape \(B, 3, 16, 32, 32\).*order of uint8 clips"),
        (PIXELS.transpose(0, 4, 1, 2, 3), r"a uint8 clip has shape \(B, 16, 32, 32, 3\).*order of float clips"),
        (FLOATS.transpose(0, 2, 1, 3, 4), r"got \(2, 16, 3, 32, 32\)"),
        (FLOATS[:, :1], r"got \(2, 1, 16, 32, 32\)"),
        (FLOATS[:, :, :15], r"got \(2, 3, 15, 32, 32\)"),
        (PIXELS[..., :31, :], r"got \(2, 16, 32, 31, 3\)"),
        (PIXELS[0, 0], r"got \(32, 32, 3\)"),
        (PIXELS[None], r"got \(1, 2, 16, 32, 32, 3\)"),
        (PIXELS[:0], r"got \(0, 16, 32, 32, 3\)"),
        (np.float32(0.5), r"got \(\)"),
        (PIXELS.astype(np.int64), "int64 is ambiguous"),
        (PIXELS > 9, "bool is ambiguous"),
        (FLOATS.astype(np.complex64), "complex64 is ambiguous"),
        ("talk.mp4", "not str"),
        (None, "not NoneType"),
        ([PIXELS[0], PIXELS[0, 1:]], "not list"),
    ],
)
def test_anything_else_is_refused_with_its_description(clip: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        as_clips(clip, TINY)
