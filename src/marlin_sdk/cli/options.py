"""Options and exit statuses that several commands share."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from marlin_sdk.cli.output import Console
from marlin_sdk.errors import ConfigError, MarlinError, MissingExtraError, VideoNotFoundError, WeightsError

__all__ = ["CONTEXT", "MASKINGS", "ends_with_status", "output_options", "set_up_logging"]

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
MASKINGS = ("fasking", "fasking_opp", "crfr", "tube", "random", "frame")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def output_options(command: _Command) -> _Command:
    """`--quiet` and `--debug`, for what a command prints."""
    debug = click.option("--debug", is_flag=True, help="Print the traceback of each failure.")
    return click.option("-q", "--quiet", is_flag=True, help="Print only failures.")(debug(command))


def set_up_logging(*, quiet: bool, package_level: int = logging.WARNING) -> None:
    """Print log messages on stderr as they are.

    Args:
        quiet: print errors only.
        package_level: lowest level of this package's messages; of others, warnings and errors are printed.
    """
    logging.basicConfig(format="%(message)s", level=logging.ERROR if quiet else logging.WARNING)
    logging.getLogger("marlin_sdk").setLevel(logging.ERROR if quiet else package_level)


@contextmanager
def ends_with_status(console: Console, *, failed: str = "stopped", interrupted: str) -> Iterator[None]:
    """Turn errors into messages and exit statuses: 2 for invalid usage or settings, 1 for a failure, 130 for Ctrl-C.

    Args:
        console: prints them.
        failed: what failed, for the message.
        interrupted: message on Ctrl-C.
    """
    try:
        yield
    except (ConfigError, WeightsError, MissingExtraError, VideoNotFoundError) as error:
        console.refuse(error)
    except (MarlinError, OSError) as error:
        console.failure(failed, error)
        sys.exit(1)
    except KeyboardInterrupt:
        console.failure(interrupted, None)
        sys.exit(130)
