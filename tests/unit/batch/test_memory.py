from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json
from pathlib import Path

import numpy as np

from marlin_sdk.batch.memory import release_free_memory


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


np.ones(24 << 20, np.uint8)  # freed at once: from here on glibc keeps blocks of this size on the heap
before_mb = resident_mb()
clips = [(np.ones(2_400_000, np.uint8), np.ones(20, np.uint8)) for _ in range(100)]
full_mb = resident_mb() - before_mb
small = [second for _, second in clips]
del clips
release_free_memory()
print(json.dumps([full_mb, resident_mb() - before_mb, all(one.sum() == 20 for one in small)]))
"""


def test_holes_between_small_objects_go_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    full_mb, trimmed_mb, small_are_whole = json.loads(done.stdout)
    assert full_mb > 200
    assert trimmed_mb < 40
    assert small_are_whole
