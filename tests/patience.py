"""How tests wait: for what is to happen, never for a time that a busy machine may need longer than."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

__all__ = ["HANG_S", "wait_for"]

HANG_S = 1500.0
"""Only what hangs takes so long, however busy the machine is."""

_T = TypeVar("_T")


def wait_for(happens: Callable[[], _T], *, unless: Callable[[], object] = lambda: False) -> _T:
    """Wait until something is true.

    Args:
        happens: looked at again and again, until it gives something true.
        unless: makes it pointless to wait on: a process that has ended, say.
    Returns:
        What it gave.
    """
    given_up_s = time.monotonic() + HANG_S
    while not (found := happens()):
        if unless():
            found = happens()  # once more: it may have happened just before
            assert found, "it can no longer happen"
            break
        assert time.monotonic() < given_up_s, "it hangs"
        time.sleep(0.002)
    return found
