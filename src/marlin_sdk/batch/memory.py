"""The C library's heap, which keeps what Python has let go of."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

__all__ = ["release_free_memory"]


def release_free_memory() -> None:
    """Give free memory back to the system; does nothing where the C library is not glibc.

    Clips come and go among small objects that live longer, and leave holes that later clips do not always fit into:
    glibc keeps them all, so that a long run takes more and more. This takes a few milliseconds.
    """
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@cache
def _glibc() -> ctypes.CDLL | None:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None
