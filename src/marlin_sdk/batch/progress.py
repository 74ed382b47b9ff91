"""Progress of a run: a bar on a terminal, one line per minute elsewhere, or JSON lines."""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, Protocol, TextIO

from marlin_sdk.dump.manifest import ManifestEntry

__all__ = [
    "JsonProgress",
    "PlainProgress",
    "Progress",
    "QuietProgress",
    "TerminalProgress",
    "choose_progress",
    "escape_controls",
    "json_line",
]

_PLAIN_EVERY_S = 60.0
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Progress(Protocol):
    """Receives the events of a run."""

    def start(self, total: int, done: int) -> None:
        """A run starts: number of videos to embed, and of videos that earlier runs finished."""

    def video(self, entry: ManifestEntry) -> None:
        """A video is finished."""

    def windows(self, count: int) -> None:
        """`count` more windows have been embedded."""

    def note(self, text: str) -> None:
        """A message for information."""

    def failure(self, text: str, trace: str) -> None:
        """An error message, and its traceback."""

    def close(self) -> None:
        """The run has ended."""


class _Counting:
    """Counts videos, windows and failures, and measures their rates."""

    def __init__(self, stream: TextIO | None = None, *, debug: bool = False) -> None:
        self._stream = stream or sys.stderr
        self._debug = debug
        self.total = self.done = self.rows = self.failed = 0
        self.started_s = time.monotonic()

    def start(self, total: int, done: int) -> None:
        """See `Progress.start`."""
        self.total = total
        self.started_s = time.monotonic()

    def video(self, entry: ManifestEntry) -> None:
        """See `Progress.video`."""
        self.done += 1
        self.failed += entry.status in ("failed", "no_face")

    def windows(self, count: int) -> None:
        """See `Progress.windows`."""
        self.rows += count

    def failure(self, text: str, trace: str) -> None:
        """See `Progress.failure`."""
        text = escape_controls(text)
        self._write(f"\033[31m{text}\033[0m" if self._stream.isatty() else text)
        if self._debug and trace:
            self._write(escape_controls(trace))

    def _write(self, text: str) -> None:
        self._stream.write(f"{text}\n")  # in one call, because another thread may be writing too
        self._stream.flush()

    def close(self) -> None:
        """See `Progress.close`."""

    @property
    def windows_per_s(self) -> float:
        """Average since the start of the run."""
        return self.rows / max(time.monotonic() - self.started_s, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Remaining seconds at the rate so far; None until a video is finished."""
        spent_s = time.monotonic() - self.started_s
        return (self.total - self.done) * spent_s / self.done if self.done else None


class TerminalProgress(_Counting):
    """A tqdm bar: videos, rate, windows per second, failures, time left."""

    def start(self, total: int, done: int) -> None:
        """See `Progress.start`."""
        from tqdm import tqdm

        super().start(total, done)
        self._bar = tqdm(total=total, unit="video", dynamic_ncols=True, smoothing=0.05, file=self._stream)
        self._show()

    def video(self, entry: ManifestEntry) -> None:
        """See `Progress.video`."""
        super().video(entry)
        self._show()
        self._bar.update()

    def windows(self, count: int) -> None:
        """See `Progress.windows`."""
        super().windows(count)
        self._show()
        self._bar.update(0)

    def _show(self) -> None:
        failed = f", {self.failed} failed" if self.failed else ""
        self._bar.set_postfix_str(f"{self.rows} windows, {self.windows_per_s:.1f}/s{failed}", refresh=False)

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        self._write(escape_controls(text))

    def _write(self, text: str) -> None:
        from tqdm import tqdm

        tqdm.write(text, file=self._stream)

    def close(self) -> None:
        """See `Progress.close`."""
        if hasattr(self, "_bar"):
            self._bar.close()


class PlainProgress(_Counting):
    """One line per minute, for logs, even while no video finishes.

    Args:
        stream: where to write.
        debug: print the traceback of each failure.
        every_s: seconds between two lines.
    """

    def __init__(self, stream: TextIO | None = None, *, debug: bool = False, every_s: float = _PLAIN_EVERY_S) -> None:
        super().__init__(stream, debug=debug)
        self._every_s = every_s
        self._ended = threading.Event()
        self._reporter = threading.Thread(target=self._report, daemon=True)

    def start(self, total: int, done: int) -> None:
        """See `Progress.start`."""
        super().start(total, done)
        self._reporter.start()

    def _report(self) -> None:
        while not self._ended.wait(self._every_s):
            left = "" if self.left_s is None else f", {_duration(self.left_s)} left"
            self.note(
                f"{time.strftime('%H:%M:%S')}  {self.done}/{self.total} videos, {self.rows} windows, "
                f"{self.windows_per_s:.1f} windows/s, {self.failed} failed{left}"
            )

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        self._write(escape_controls(text))

    def close(self) -> None:
        """See `Progress.close`."""
        self._ended.set()


class QuietProgress(_Counting):
    """Reports only failures."""

    def note(self, text: str) -> None:
        """Ignored."""


class JsonProgress(_Counting):
    """One JSON object per line: {"event": "start" | "video" | "note" | "end", ...}."""

    def start(self, total: int, done: int) -> None:
        """See `Progress.start`."""
        super().start(total, done)
        self._emit("start", {"videos": total, "done_before": done})

    def video(self, entry: ManifestEntry) -> None:
        """See `Progress.video`."""
        super().video(entry)
        left = None if self.left_s is None else round(self.left_s, 1)
        counts = {"done": self.done, "of": self.total, "windows_per_s": round(self.windows_per_s, 2), "left_s": left}
        self._emit("video", {**json.loads(entry.to_json()), **counts})

    def note(self, text: str) -> None:
        """See `Progress.note`."""
        self._emit("note", {"text": text})

    def failure(self, text: str, trace: str) -> None:
        """The line of the video reports the failure already; only the traceback is new."""
        if self._debug and trace:
            self._emit("note", {"text": trace})

    def close(self) -> None:
        """See `Progress.close`."""
        self._emit("end", {"done": self.done, "rows": self.rows, "failed": self.failed})

    def _emit(self, event: str, values: Mapping[str, Any]) -> None:
        self._write(json_line(event, values))


def json_line(event: str, values: Mapping[str, Any]) -> str:
    """Format an event as {"event": ..., "time": Unix time, ...}: one line, in ASCII for any locale."""
    return json.dumps({"event": event, "time": round(time.time(), 3), **values})


def escape_controls(text: str) -> str:
    """Escape terminal control characters, which file names may contain."""
    return _CONTROLS.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def choose_progress(*, quiet: bool = False, as_json: bool = False, debug: bool = False) -> Progress:
    """JSON lines if requested, a bar on a terminal, one line per minute elsewhere."""
    if as_json:
        return JsonProgress(debug=debug)
    if quiet:
        return QuietProgress(debug=debug)
    return TerminalProgress(debug=debug) if sys.stderr.isatty() else PlainProgress(debug=debug)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
