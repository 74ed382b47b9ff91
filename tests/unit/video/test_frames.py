"""A frame is converted when its pixels are first accessed."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from numpy.typing import NDArray

from marlin_sdk.errors import VideoDecodeError
from marlin_sdk.video.frames import MAX_PIXELS, Frame, check_pixels


def test_a_frame_is_converted_once_when_its_pixels_are_accessed() -> None:
    calls: list[int] = []

    def convert() -> NDArray[np.uint8]:
        calls.append(1)
        return np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[:, ::-1]

    frame = Frame(7, 0.28, 0.04, 2, 4, convert)

    assert (frame.index, frame.time_s, frame.duration_s, frame.height, frame.width) == (7, 0.28, 0.04, 2, 4)
    assert calls == []
    assert frame.rgb is frame.rgb
    assert calls == [1]
    assert frame.rgb.flags["C_CONTIGUOUS"]
    assert frame.rgb[0, 0].tolist() == [9, 10, 11]


def test_pixels_of_a_large_frame_are_not_cached() -> None:
    calls: list[int] = []

    def convert() -> NDArray[np.uint8]:
        calls.append(1)
        return np.zeros((1500, 2000, 3), dtype=np.uint8)

    frame = Frame(0, 0.0, 0.04, 1500, 2000, convert)
    first, again = weakref.ref(frame.rgb), frame.rgb
    gc.collect()
    assert first() is None
    assert again.shape == (1500, 2000, 3)
    assert len(calls) == 2
    assert frame.is_large
    assert not Frame(0, 0.0, 0.04, 1080, 1920, convert).is_large


def test_8k_is_within_the_limit_and_absurd_sizes_are_not() -> None:
    check_pixels("8k.mp4", 7680, 4320)
    check_pixels("edge.mp4", MAX_PIXELS, 1)
    with pytest.raises(VideoDecodeError, match=r"bomb\.mp4 has frames of 65536x65536; the limit is \d+ pixels"):
        check_pixels("bomb.mp4", 65536, 65536)
