"""Totals, reasons and rates of a manifest."""

from __future__ import annotations

import time

import numpy as np
import pytest

from marlin_sdk.dump.manifest import ManifestEntry, Status
from marlin_sdk.report.summary import count_totals, group_failures, measure_throughput, printable


def entry(number: int, status: Status = "ok", **values: object) -> ManifestEntry:
    given = {"id": f"v{number}", "source": f"/data/v{number}.mp4", "status": status, **values}
    return ManifestEntry(**given)  # type: ignore[arg-type]


def test_totals_add_up_and_name_only_statuses_that_are_there() -> None:
    entries = [
        entry(0, rows=3, duration_s=4.0, seconds=1.5),
        entry(1, "no_face", skipped_windows=2, duration_s=2.0, seconds=0.5),
        entry(2, "ok", rows=5, skipped_windows=1, seconds=2.0),
        entry(3, "failed"),
    ]
    totals = count_totals(entries)
    assert totals.counts == {"ok": 2, "no_face": 1, "failed": 1}
    assert (totals.videos, totals.windows, totals.skipped_windows) == (4, 8, 3)
    assert (totals.duration_s, totals.num_unknown, totals.seconds) == (6.0, 2, 4.0)


def test_failures_that_differ_in_name_and_numbers_are_one_reason() -> None:
    failed = [
        entry(n, "failed", error="VideoDecodeError", message=f"/data/v{n}.mp4 breaks off at {n}.5 s") for n in range(30)
    ]
    other = entry(99, "failed", error="WorkerLostError", message="the worker died")
    reasons = group_failures([entry(50), other, *failed])
    assert [(reason.error, reason.count) for reason in reasons] == [("VideoDecodeError", 30), ("WorkerLostError", 1)]
    assert reasons[0].message == "/data/v0.mp4 breaks off at 0.5 s"
    assert reasons[0].ids == tuple(f"v{n}" for n in range(20))


def test_the_same_message_of_two_errors_is_two_reasons() -> None:
    failed = [entry(0, "failed", error="A", message="x"), entry(1, "failed", error="B", message="x")]
    assert len(group_failures(failed)) == 2


def test_many_kinds_of_failure_end_in_one_line_that_stands_for_the_rest() -> None:
    failed = [entry(n, "failed", error=f"Error{n:02d}x", message="m") for n in range(100)]
    reasons = group_failures(failed)
    assert len(reasons) == 40
    assert sum(reason.count for reason in reasons) == 100
    assert (reasons[-1].error, reasons[-1].count) == ("other", 61)


def test_a_failure_without_words_is_kept_and_a_long_one_is_cut() -> None:
    reasons = group_failures([entry(0, "failed"), entry(1, "failed", error="E", message="y" * 5000)])
    assert {reason.error for reason in reasons} == {"unknown error", "E"}
    assert max(len(reason.message) for reason in reasons) == 403


def test_throughput_is_what_was_finished_by_the_time_it_took() -> None:
    entries = [entry(n, rows=4, seconds=1.0, finished_at=1000.0 + n + 1) for n in range(60)]
    measured = measure_throughput(entries)
    assert measured is not None
    assert measured.edges_s[-1] == pytest.approx(60.0)
    np.testing.assert_allclose(measured.videos_per_min.mean(), 60.0)
    np.testing.assert_allclose(measured.windows_per_s.mean(), 4.0)
    assert measured.pauses_s == ()


def test_a_break_between_two_runs_is_taken_out_of_the_time() -> None:
    first = [entry(n, seconds=1.0, finished_at=1000.0 + n + 1) for n in range(10)]
    second = [entry(10 + n, seconds=1.0, finished_at=90_000.0 + n + 1) for n in range(10)]
    measured = measure_throughput([*second, *first])
    assert measured is not None
    assert measured.edges_s[-1] == pytest.approx(20.0)
    assert measured.pauses_s == pytest.approx((10.0,))
    assert (measured.videos_per_min * np.diff(measured.edges_s)).sum() / 60 == pytest.approx(20)


def test_a_video_that_takes_an_hour_is_no_break() -> None:
    entries = [entry(0, seconds=1.0, finished_at=1001.0), entry(1, seconds=3600.0, finished_at=4601.0)]
    measured = measure_throughput(entries)
    assert measured is not None
    assert measured.pauses_s == ()
    assert measured.edges_s[-1] == pytest.approx(3601.0)


def test_two_workers_at_once_make_no_break_and_twice_the_rate() -> None:
    entries = [entry(n, seconds=100.0, finished_at=1000.0 + 100 * (n // 2 + 1)) for n in range(20)]
    measured = measure_throughput(entries)
    assert measured is not None
    assert measured.edges_s[-1] == pytest.approx(1000.0)
    assert measured.pauses_s == ()


@pytest.mark.parametrize("times", [[], [1000.0], [0.0, 0.0], [1000.0, 1000.0]])
def test_there_is_no_rate_without_two_times_that_differ(times: list[float]) -> None:
    assert measure_throughput([entry(n, finished_at=time_) for n, time_ in enumerate(times)]) is None


def test_what_cannot_be_seen_or_turns_the_writing_is_replaced() -> None:
    assert printable("a\u202eb\x00c\udc80\nd é 漢 \U0001f600") == "a\ufffdb\ufffdc\ufffd\ufffdd é 漢 \U0001f600"


def test_a_hundred_thousand_lines_take_a_moment() -> None:
    statuses: tuple[Status, ...] = ("ok", "failed")
    entries = [
        entry(n, statuses[n % 10 == 0], rows=4, seconds=1.0, finished_at=1e9 + n, error="E", message=f"at {n} of v{n}")
        for n in range(100_000)
    ]
    started_s = time.process_time()
    totals, reasons, measured = count_totals(entries), group_failures(entries), measure_throughput(entries)
    assert time.process_time() - started_s < 10  # measured: 0.5 s
    assert totals.videos == 100_000
    assert [reason.count for reason in reasons] == [10_000]
    assert measured is not None
