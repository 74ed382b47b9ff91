"""Return free memory of the C library to the operating system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

__all__ = ["release_free_memory"]


def release_free_memory() -> None:
    """Return free memory to the operating system; does nothing if the C library is not glibc.

    Clips are allocated among small objects that live longer, so that freed clips leave gaps that later ones do not
    always fit into. glibc keeps these gaps, and a long run would use more and more memory. This takes a few
    milliseconds.
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
