"""What a command says: JSON lines on stdout, notes and failures on stderr."""

from __future__ import annotations

import json
import sys
import traceback
from typing import TYPE_CHECKING, Any

import click

from marlin_sdk.errors import FeatureFileError, MarlinError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Speaker", "Stop", "numbers", "print_json"]


class Stop(Exception):  # noqa: N818 - no error of its own: it carries one
    """What would fail for every video still to come."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


def numbers(array: NDArray[Any]) -> Any:
    """Nested lists of an array for JSON, which knows no NaN and no infinity: these become null."""
    import numpy as np

    finite = np.isfinite(array)
    if finite.all():
        return array.tolist()
    values = array.astype(object)
    values[~finite] = None
    return values.tolist()


def print_json(line: dict[str, Any]) -> None:
    """Print one line at once.

    Raises:
        BrokenPipeError: nobody reads any more.
        Stop: it cannot be written.
    """
    try:
        click.echo(json.dumps(line, allow_nan=False))
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Stop(FeatureFileError(f"cannot write to standard output: {error.strerror}")) from error


class Speaker:
    """What a person sees on stderr, above the progress bars."""

    def __init__(self, *, quiet: bool, debug: bool) -> None:
        self._quiet = quiet
        self._debug = debug
        self.bars = sys.stderr.isatty() and not quiet

    def note(self, text: str) -> None:
        if not self._quiet:
            self._write(text)

    def failure(self, what: str, error: Exception | None) -> None:
        self._write(click.style(f"failed: {what}" if error is None else f"failed: {what}: {_reason(error)}", fg="red"))
        if error is not None:
            self.trace(error)

    def trace(self, error: Exception) -> None:
        if self._debug:
            self._write("".join(traceback.format_exception(error)))

    def _write(self, text: str) -> None:
        from tqdm.auto import tqdm

        with tqdm.external_write_mode(file=sys.stderr):
            click.echo(text, err=True)


def _reason(error: Exception) -> str:
    known = isinstance(error, MarlinError)
    return f"{error} ({type(error).__name__})" if known else f"unexpected {error!r}; --debug shows where"
