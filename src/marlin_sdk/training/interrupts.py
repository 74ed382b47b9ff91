"""Ctrl-C, or SIGTERM from a scheduler: the step is finished, and a checkpoint written."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["stop_on_signals"]

logger = logging.getLogger("marlin_sdk")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Let the first signal ask for a stop, and the second one stop immediately.

    Outside the main thread, where Python cannot handle signals, none is handled.

    Yields:
        An event that the first signal sets.
    """
    stop = threading.Event()

    def handle(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        logger.warning("%s: finishing the step and writing a checkpoint; once more stops immediately", name)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup does
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
