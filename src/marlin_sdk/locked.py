"""Objects that several threads may use, and that can still be pickled and copied."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["Locked"]


class Locked:
    """A base class whose instances have a lock, `self._lock`, which copies and pickles do not share.

    Pickles go to other processes; state that cannot travel is left out by `_transient`.
    """

    _transient: tuple[str, ...] = ()
    """Attributes that are not copied; `_restore` makes them anew."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        """All attributes but the lock and those that cannot be copied."""
        return {name: value for name, value in vars(self).items() if name not in ("_lock", *self._transient)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the attributes, with a lock of its own."""
        vars(self).update(state)
        self._lock = threading.RLock()
        self._restore()

    def _restore(self) -> None:
        """Make what was not copied."""
