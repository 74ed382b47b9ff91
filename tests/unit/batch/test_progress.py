"""What a person, or a machine, sees of a run."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from typing import Any

import pytest
from tests.patience import HANG_S, wait_for

from marlin_sdk.batch.progress import (
    JsonProgress,
    PlainProgress,
    Progress,
    QuietProgress,
    TerminalProgress,
    choose_progress,
)
from marlin_sdk.dump.manifest import ManifestEntry, Status


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def entry(id: str, status: Status = "ok") -> ManifestEntry:
    return ManifestEntry(id=id, source=f"{id}.mp4", status=status, rows=3, finished_at=1.0)


def run(progress: Progress, *statuses: Status, total: int = 10) -> None:
    progress.start(total, 5)
    for index, status in enumerate(statuses):
        progress.windows(3)
        progress.video(entry(f"é\udc80{index}", status))
        if status == "failed":
            progress.failure("failed: it is empty", "Traceback: here")
    progress.note("a note")
    progress.close()


def test_json_lines_are_json_in_any_locale() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace")
    run(JsonProgress(stream, debug=True), "ok", "failed", "no_face")
    lines: list[dict[str, Any]] = [json.loads(line) for line in raw.getvalue().decode("ascii").splitlines()]
    assert [line["event"] for line in lines] == ["start", "video", "video", "note", "video", "note", "end"]
    assert (lines[0]["videos"], lines[0]["done_before"]) == (10, 5)
    assert (lines[1]["id"], lines[1]["done"], lines[1]["of"], lines[1]["status"]) == ("é\udc800", 1, 10, "ok")
    assert lines[1]["left_s"] >= 0
    assert lines[3]["text"] == "Traceback: here"
    assert (lines[-1]["done"], lines[-1]["rows"], lines[-1]["failed"]) == (3, 9, 2)
    assert all(abs(line["time"] - time.time()) < 60 for line in lines)


def test_plain_lines_come_at_their_time_even_if_nothing_else_does() -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, every_s=0.2)
    progress.start(10, 5)
    wait_for(stream.getvalue)  # not one video in all that time
    assert re.match(r"\d\d:\d\d:\d\d  0/10 videos, 0 windows, 0\.0 windows/s, 0 failed\n", stream.getvalue())
    progress.windows(6)
    progress.video(entry("a", "no_face"))
    line = r"1/10 videos, 6 windows, \d+\.\d windows/s, 1 failed, \d+:\d\d left\n"
    wait_for(lambda: re.search(line, stream.getvalue()))
    progress.close()
    progress._reporter.join(HANG_S)
    assert not progress._reporter.is_alive(), "the clock runs on"


def test_plain_lines_are_a_minute_apart() -> None:
    stream = io.StringIO()
    run(PlainProgress(stream), "ok", "ok")
    assert stream.getvalue() == "a note\n"


def test_one_line_at_a_terminal() -> None:
    stream = Screen()
    run(TerminalProgress(stream), "ok", "failed", "ok", total=3)
    shown = stream.getvalue()
    last = shown.replace("\n", "\r").rstrip("\r").rsplit("\r", 1)[-1]
    assert "3/3" in last
    assert re.search(r"video(/s|s)?.*9 windows, \d+\.\d/s, 1 failed", last)
    assert "\033[31mfailed: it is empty\033[0m" in shown
    assert "Traceback" not in shown
    assert "<00:" in shown  # the time left


def test_quiet_tells_of_failures_only() -> None:
    stream = io.StringIO()
    run(QuietProgress(stream), "ok", "failed")
    assert stream.getvalue() == "failed: it is empty\n"


def test_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Screen())
    assert type(choose_progress()) is TerminalProgress
    assert type(choose_progress(as_json=True, quiet=True)) is JsonProgress
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert type(choose_progress()) is PlainProgress
    assert type(choose_progress(quiet=True)) is QuietProgress


@pytest.mark.parametrize("kind", [TerminalProgress, PlainProgress, QuietProgress])
def test_names_of_files_do_not_steer_the_terminal(kind: type[PlainProgress]) -> None:
    screen = Screen()
    progress = kind(screen, debug=True)
    progress.start(1, 0)
    progress.note("a\x1b]0;owned\x07.mp4 -> out")
    progress.failure("failed: b\x1b[2J\x9b.mp4", "Traceback\n\tof c\x1b[2J")
    progress.close()
    shown = screen.getvalue()
    assert "\\x1b[2J\\x9b.mp4" in shown
    assert "Traceback\n\tof c\\x1b[2J" in shown
    assert not re.search(r"\x1b\[2J|\x1b\]|\x07|\x9b", shown)
