"""Output of the commands: JSON lines on stdout, notes and failures on stderr."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import click

from marlin_sdk.batch.progress import escape_controls, json_line
from marlin_sdk.errors import ConfigError, FeatureFileError, MarlinError
from marlin_sdk.weights.downloads import LICENCES_LOGGER

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "UNTRAINED",
    "Console",
    "Stop",
    "check_stdout",
    "exit_at_once",
    "numbers",
    "open_missing_streams",
    "print_json",
]

UNTRAINED = "untrained weights (seed 0): these features mean nothing"
_STREAMS = ("stdin", "stdout", "stderr")
_missing: set[str] = set()
_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"]+")


def open_missing_streams() -> None:
    """Open the null device in place of standard streams that are closed.

    Otherwise messages raise errors, and the next file that is opened takes the number of the stream: what a library
    prints would be written into it.
    """
    for number, name in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        _missing.add(name)
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number, inheritable=True)
            if null != number:
                os.close(null)
        setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def check_stdout() -> None:
    """Refuse to print results where nobody reads them.

    Raises:
        ConfigError: the process was started without standard output.
    """
    if "stdout" in _missing:
        raise ConfigError("standard output is closed, and -o - prints to it; use -o DIR")


class Stop(Exception):  # noqa: N818 - it is not an error, but carries one
    """An error that affects every remaining video."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def numbers(array: NDArray[Any]) -> Any:
    """An array as nested lists for JSON, with null for NaN and infinity."""
    import numpy as np

    finite = np.isfinite(array)
    if finite.all():
        return array.tolist()
    values = array.astype(object)
    values[~finite] = None
    return values.tolist()


def print_json(line: dict[str, Any]) -> None:
    """Print one line, and flush it.

    Raises:
        BrokenPipeError: the reader has closed the pipe.
        Stop: it cannot be written.
    """
    try:
        click.echo(json.dumps(line, allow_nan=False))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Stop(FeatureFileError(f"cannot write to standard output: {error.strerror}")) from error


class Console:
    """Prints messages on stderr, above the progress bars, as text or as JSON lines."""

    def __init__(self, *, quiet: bool, debug: bool, as_json: bool = False) -> None:
        self._quiet = quiet
        self._debug = debug
        self._as_json = as_json
        self.bars = sys.stderr.isatty() and not quiet and not as_json

    def note(self, text: str) -> None:
        if not self._quiet:
            self._write("note", text)

    def warn(self, text: str) -> None:
        """Print a note even if notes are off."""
        self._write("note", text)

    def failure(self, what: str, error: Exception | None) -> None:
        text = f"failed: {what}" if error is None else f"failed: {what}: {_reason(error)}"
        self._write("failure", text, colour="red")
        if error is not None:
            self.trace(error)

    def refuse(self, error: Exception) -> NoReturn:
        """Exit because of invalid usage or settings.

        Raises:
            SystemExit: with status 2.
        """
        self.trace(error)
        if not self._as_json:
            raise click.UsageError(str(error)) from error
        self._write("failure", str(error))
        sys.exit(2)

    def trace(self, error: Exception) -> None:
        if self._debug:
            text = "".join(traceback.format_exception(error))
            self._write("note", _URL.sub(lambda url: _without_secrets(url[0]), text))

    @contextmanager
    def shows_logs(self) -> Iterator[None]:
        """Print log messages: warnings, or with `quiet` only errors and the licences of downloads."""
        handler = _LogHandler(self, logging.ERROR if self._quiet else logging.WARNING)
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)

    def _write(self, event: str, text: str, *, colour: str | None = None) -> None:
        from tqdm.auto import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            click.echo(
                json_line(event, {"text": text}) if self._as_json else click.style(escape_controls(text), fg=colour),
                err=True,
            )


class _LogHandler(logging.Handler):
    def __init__(self, console: Console, least: int) -> None:
        super().__init__(logging.WARNING)
        self._console = console
        self._least = least

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= self._least or record.name == LICENCES_LOGGER:
            self._console.warn(record.getMessage())


def _without_secrets(url: str) -> str:
    from marlin_sdk.video.reader import display_name

    return display_name(url)


def exit_at_once(status: int, threads: str) -> NoReturn:
    """Exit even if a thread whose name starts with `threads` is in the middle of a long call."""
    if any(thread.name.startswith(threads) for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _reason(error: Exception) -> str:
    known = isinstance(error, MarlinError)
    return f"{error} ({type(error).__name__})" if known else f"unexpected {error!r}; --debug shows the traceback"
