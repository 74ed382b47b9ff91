"""A progress bar of work in stages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from marlin_sdk.bars import bar_class

__all__ = ["staged_bar"]


@contextmanager
def staged_bar(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal that starts again with each stage; nothing where there is no terminal.

    Yields:
        A function of the stage's name, the number done, and the number of all.
    """
    with bar_class()(total=0, disable=quiet or not sys.stderr.isatty(), leave=False) as bar:
        current = ""

        def advance(stage: str, done: int, total: int) -> None:
            nonlocal current
            if stage != current:
                current = stage
                bar.reset(total)
                bar.set_description(stage)
            bar.total = total
            bar.update(done - bar.n)

        yield advance
