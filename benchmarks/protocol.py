"""The protocol between benchmark and worker: one JSON object per line, requests on stdin, answers on stdout.

It uses only the standard library, because both environments import it, and share no other module.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Answer", "resident_mb", "sampled_memory", "serve", "settled_mb"]

Answer = dict[str, Any]


def serve(tasks: Mapping[str, Callable[..., Answer]]) -> None:
    """Run the requested tasks one at a time, until stdin ends.

    Args:
        tasks: by name; the keyword arguments come from the request. An exception becomes the answer `error`.
    """
    # Libraries may print; redirect their stdout so that it cannot mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = tasks[request.pop("task")](**request)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def resident_mb() -> float:
    """Resident memory of this process, in MB (10^6 bytes). Linux only."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def settled_mb() -> float:
    """`resident_mb` after free memory was returned to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident_mb()


@contextmanager
def sampled_memory(every_s: float = 0.25) -> Iterator[list[tuple[float, float]]]:
    """Sample the resident memory while a block runs.

    Yields:
        A list of (seconds since the start, MB), filled while the block runs.
    """
    samples: list[tuple[float, float]] = []
    over = threading.Event()
    started_s = time.perf_counter()

    def watch() -> None:
        while not over.is_set():
            samples.append((round(time.perf_counter() - started_s, 2), round(resident_mb(), 1)))
            over.wait(every_s)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield samples
    finally:
        over.set()
        watcher.join()
