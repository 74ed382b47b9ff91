"""What test_ray.py runs in a process of its own, on a local Ray cluster: sockets are blocked in the tests' process.

`python on_ray.py FOLDER`: embeds the videos below FOLDER/videos in several ways, and writes what came of it to
FOLDER/told.json.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from tests.making import TINY

from marlin_sdk import Detections
from marlin_sdk.batch.progress import QuietProgress
from marlin_sdk.batch.ray import embed
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.dump.manifest import ManifestEntry

RECIPE = Recipe(model=TINY, untrained=True, detector="lbp")


class KillsItsActor:
    """A detector in a worker process that takes the actor above it down."""

    name = "kills its actor"

    def detect(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Nothing comes back."""
        os.kill(os.getppid(), signal.SIGKILL)
        return [Detections.from_rows([], []) for _ in frames]


class After(QuietProgress):
    """Does something once so many videos are done."""

    def __init__(self, count: int, what: Any) -> None:
        super().__init__()
        self._count, self._what = count, what

    def video(self, entry: ManifestEntry) -> None:
        """See `Progress.video`."""
        super().video(entry)
        if self.done == self._count:
            self._what()


def actors() -> list[int]:
    """The processes of the actors that embed."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            try:
                title = (process / "cmdline").read_text()
            except OSError:
                continue  # it has just ended
            if title.startswith("ray::") and "MapBatches(Embedder)" in title:
                found.append(int(process.name))
    return found


def main(folder: Path) -> None:
    """Every run, one after another, in one cluster."""
    os.chdir(folder)
    ray.init("local", _node_ip_address="127.0.0.1", num_cpus=2, include_dashboard=False, log_to_driver=False)
    told: dict[str, Any] = {}

    def run(name: str, inputs: Any, output: str, **options: Any) -> None:
        summary = embed(inputs, output, recipe=options.pop("recipe", RECIPE), actors=2, **options)
        told[name] = {"counts": dict(summary.counts), "left": summary.left, "before": summary.done_before}

    killed: list[int] = []

    def kill_one() -> None:
        killed.extend(actors()[:1])
        os.kill(killed[0], signal.SIGKILL)

    run("killed", "videos", "killed", progress=After(8, kill_one))
    told["killed"]["actors"] = len(killed)

    drain = threading.Event()
    run("drained", Path("videos"), "drained", progress=After(4, drain.set), drain=drain)
    rows = [{"path": str(path), "id": path.stem, "mood": None} for path in sorted(Path("videos").iterdir())]
    rows[48]["mood"] = "calm"
    run("resumed", ray.data.from_items(rows), "drained")

    run("lost", ["wide.mp4"], "lost", recipe=Recipe(model=TINY, untrained=True, detector=KillsItsActor()))
    Path("told.json").write_text(json.dumps(told))  # and not on stdout, where Ray speaks too


if __name__ == "__main__":
    from tests.long import on_ray  # so that the detector's home is a module that every process can import

    on_ray.main(Path(sys.argv[1]))
