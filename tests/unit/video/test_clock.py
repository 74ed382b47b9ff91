"""Times of decoded pictures, from good, missing and wrong timestamps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk.video.clock import PictureClock


@dataclass(frozen=True)
class Stamped:
    """A picture's timestamps, in 1/100 s."""

    pts: int | None
    dts: int | None = None
    duration: int = 0


def read(pictures: Sequence[Stamped], *, origin_s: float = 0.0, start_s: float | None = 0.0) -> list[float]:
    clock = PictureClock(Fraction(1, 100), origin_s=origin_s, start_s=start_s, fps=25.0)
    clock.choose(pictures[:8])
    return [clock.read(picture).time_s for picture in pictures]


STEADY = [round(0.04 * index, 2) for index in range(12)]


def test_pts_in_order_are_taken_as_they_are() -> None:
    assert read([Stamped(4 * index, 4 * index - 8) for index in range(12)]) == pytest.approx(STEADY)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_variable_rates_are_kept(steps: list[int]) -> None:
    stamps = [sum(steps[:index]) for index in range(len(steps))]
    assert read([Stamped(stamp, stamp) for stamp in stamps]) == pytest.approx([stamp / 100 for stamp in stamps])


def test_pts_in_decoding_order_give_way_to_dts_from_the_first_picture_on() -> None:
    """As a muxer leaves them that copies dts to pts: the pictures come out in display order, their pts do not."""
    pts = [4, 12, 16, 8, 24, 28, 20, 36, 40, 32, 44, 48]
    pictures = [Stamped(pts[index], 8 + 4 * index) for index in range(12)]
    assert read(pictures) == pytest.approx([time_s + 0.04 for time_s in STEADY])


def test_without_pts_the_first_picture_is_shown_when_the_stream_starts() -> None:
    """As in AVI: the dts of the first picture that comes out is late by the decoder's delay."""
    pictures = [Stamped(None, 8 + 4 * index) for index in range(10)] + [Stamped(None), Stamped(None)]
    assert read(pictures) == pytest.approx(STEADY)
    assert read(pictures, start_s=0.5) == pytest.approx([time_s + 0.5 for time_s in STEADY])


def test_without_any_timestamp_the_frame_rate_counts() -> None:
    clock = PictureClock(Fraction(1, 100), origin_s=0.0, start_s=None, fps=25.0)
    pictures = [Stamped(None)] * 12
    clock.choose(pictures)
    assert [clock.read(picture).time_s for picture in pictures] == pytest.approx(STEADY)
    assert clock.is_untimed


def test_clock_restarts_only_where_decoding_does_too() -> None:
    clock = PictureClock(Fraction(1, 100), origin_s=0.0, start_s=0.0, fps=25.0)
    stray = [Stamped(400, 400), Stamped(404, 404), Stamped(100, 408), Stamped(412, 412)]
    clock.choose([Stamped(0, 0), Stamped(4, 4)])
    assert [clock.read(picture).time_s for picture in stray] == pytest.approx([4.0, 4.04, 4.08, 4.12])
    assert clock.warnings == []
    again = [Stamped(0, 0), Stamped(4, 4)]
    assert [clock.read(picture).time_s for picture in again] == pytest.approx([4.16, 4.2])
    assert clock.warnings == ["timestamps restart at 4.16 s; times continue from there"]


def test_gap_is_what_the_declared_duration_leaves_open() -> None:
    clock = PictureClock(Fraction(1, 100), origin_s=0.0, start_s=0.0, fps=25.0)
    moments = [
        clock.read(picture) for picture in (Stamped(0, 0, 4), Stamped(4, 4, 4), Stamped(100, 100, 50), Stamped(150))
    ]
    assert [moment.gap_s for moment in moments] == pytest.approx([0, 0, 0.92, 0])
    assert [moment.duration_s for moment in moments] == pytest.approx([0.04, 0.04, 0.5, 0.04])
