from __future__ import annotations

from pathlib import Path

import numpy as np

from marlin_sdk.batch.heap import trim_heap


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def test_holes_between_small_objects_go_back_to_the_system() -> None:
    np.ones(24 << 20, np.uint8)  # freed at once: from here on glibc keeps blocks of this size on the heap
    before_mb = resident_mb()
    clips = [(np.ones(2_400_000, np.uint8), np.ones(20, np.uint8)) for _ in range(100)]
    assert resident_mb() - before_mb > 200
    small = [second for _, second in clips]
    del clips
    trim_heap()
    assert resident_mb() - before_mb < 40
    assert all(one.sum() == 20 for one in small)
