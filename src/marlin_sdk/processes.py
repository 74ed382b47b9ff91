"""A process that works for another one, and is of no use without it."""

from __future__ import annotations

import multiprocessing
import os
import threading

__all__ = ["exit_with_parent"]


def exit_with_parent() -> None:
    """Let this process, one of multiprocessing's, end at once when its parent is gone, whatever it is busy with.

    A parent that was killed can tell nobody.
    """
    threading.Thread(target=_wait_and_end, name="marlin-parent", daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
