"""Child processes that end with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading

__all__ = ["exit_with_parent"]


def exit_with_parent() -> None:
    """End this child of multiprocessing as soon as its parent is gone, whatever it is doing.

    A killed parent cannot notify its children.
    """
    threading.Thread(target=_wait_and_end, name="marlin-parent", daemon=True).start()


def _wait_and_end() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
