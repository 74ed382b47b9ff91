"""Processes that end well: at a signal, and children with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["exit_with_parent", "stop_on_signals"]

_STOPS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals(report: Callable[[str], object]) -> Iterator[threading.Event]:
    """Let the first Ctrl-C, or SIGTERM of a scheduler, ask for a stop, and the second one stop immediately.

    Outside the main thread, where Python cannot handle signals, none is handled.

    Args:
        report: called on the first signal, with its name: "Ctrl-C" or "SIGTERM".
    Yields:
        An event that the first signal sets.
    Raises:
        KeyboardInterrupt: at the second signal.
    """
    stop = threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        with suppress(RuntimeError):  # the signal interrupted a write to the same stream
            report("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handled = [number for number in _STOPS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores Ctrl-C
    before = {number: signal.signal(number, on_signal) for number in handled}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
