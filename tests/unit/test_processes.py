"""Stopping at signals."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from marlin_sdk.processes import stop_on_signals


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_first_signal_drains_and_second_stops(number: signal.Signals, name: str) -> None:
    said: list[str] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_on_signals(said.append) as drain:
            os.kill(os.getpid(), number)
            assert drain.wait(5)
            assert said == [name]
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGINT, before)


def test_ignored_ctrl_c_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as under nohup
    try:
        with stop_on_signals(print) as drain:
            os.kill(os.getpid(), signal.SIGINT)
            assert not drain.wait(0.1)
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_cannot_handle_signals_and_get_none() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[bool] = []

    def run() -> None:
        with stop_on_signals(print) as stop:
            seen.append(stop.is_set() or signal.getsignal(signal.SIGINT) is not before)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [False]
