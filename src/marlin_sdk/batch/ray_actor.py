"""What runs in each actor of a Ray cluster: a `LocalEngine` that gets its videos from Ray."""

from __future__ import annotations

import os
import pickle
import queue
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.workers import Failure, WorkerLimits
from marlin_sdk.errors import ConfigError
from marlin_sdk.inputs.videos import VideoInput

__all__ = ["ActorTask", "Embedder", "Gate", "pack", "unpack"]

_GATE_POLL_S = 1.0
_TRIES = 3  # for a task whose actor died; Ray itself would retry forever


@dataclass(frozen=True)
class ActorTask:
    """What an actor needs to start.

    Attributes:
        recipe: how videos are embedded.
        device: torch device of the model, as the actor sees it: Ray hides the GPUs of others.
        workers: number of processes that decode and find faces.
        limits: when a worker is replaced.
        folder: base of relative paths; None if there are none.
    """

    recipe: Recipe
    device: str
    workers: int
    limits: WorkerLimits
    folder: str | None


def pack(value: object) -> bytes:
    """Pickle a value for a cell of a Ray dataset."""
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def unpack(cell: bytes) -> Any:
    """Unpickle a cell made by `pack`: by this program, in memory; never from a file."""
    return pickle.loads(cell)


class Gate:
    """A small actor that the others ask before they start a video."""

    def __init__(self) -> None:
        self._closed = False
        self._tries: Counter[str] = Counter()

    def count_try(self, task: str) -> int:
        """How often a task was started, this time included: more than once if its actor died."""
        self._tries[task] += 1
        return self._tries[task]

    def close(self) -> None:
        """Allow no new video from now on."""
        self._closed = True

    def is_closed(self) -> bool:
        """Whether no new video is allowed."""
        return self._closed


class Embedder:
    """The callable of `map_batches`: takes rows with a `VideoInput`, yields rows with its `VideoResult`.

    It is built once per actor, with its model. An error that affects every video is yielded as a row too: an exception
    would make Ray rebuild the actor forever.

    Args:
        task: what the actor needs.
        gate: handle of the `Gate`.
    """

    def __init__(self, task: ActorTask, gate: Any) -> None:
        self._gate = gate
        self._polled_s = 0.0
        self._closed = False
        self._ahead = 2 * task.workers  # so that no worker waits for its next video
        self._queue: queue.SimpleQueue[VideoInput] = queue.SimpleQueue()
        self._broken: Exception | None = None
        try:
            if task.folder is not None:
                _enter(task.folder)
            model = task.recipe.load_model(task.device)
            engine = LocalEngine(task.recipe, [model], workers=task.workers, limits=task.limits)
        except Exception as error:
            self._broken = error
        else:
            # One run for the lifetime of the actor, so that its worker processes are reused.
            self._results = engine.run(self._videos())

    def _videos(self) -> Iterator[VideoInput]:
        while True:
            yield self._queue.get()

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Embed a batch of videos.

        Args:
            batch: "video": object (B,) of packed `VideoInput`s.
        Yields:
            "result": object (1,), a packed `VideoResult`, or the exception that must stop the run. They are in input
            order: when Ray repeats the task of a dead actor, it skips as many results as it has received.
        """
        if self._broken is not None:
            yield _row(self._broken)
            return
        import ray

        videos: list[VideoInput] = [unpack(cell) for cell in batch["video"]]
        tries = ray.get(self._gate.count_try.remote(videos[0].id))
        if tries > _TRIES:
            message = f"the Ray actor of this video and {len(videos) - 1} others died {_TRIES} times"
            for video in videos:
                yield _row(VideoResult(video, None, Failure("ActorLostError", message), 0.0))
            return
        done: dict[str, VideoResult] = {}
        try:
            for video in self._embed(deque(videos), done):
                yield _row(done.pop(video.id))
        except Exception as error:
            self._broken = error
            yield _row(error)

    def _embed(self, waiting: deque[VideoInput], done: dict[str, VideoResult]) -> Iterator[VideoInput]:
        """Fill `done`, and yield each video once it is in there, in order; skip videos that were not started."""
        started: deque[VideoInput] = deque()
        running = 0
        while True:
            while waiting and running < self._ahead and not self._is_closed():
                started.append(waiting.popleft())
                self._queue.put(started[-1])
                running += 1
            while started and started[0].id in done:
                yield started.popleft()
            if not running:
                return
            result = next(self._results)
            done[result.video.id] = result
            running -= 1

    def _is_closed(self) -> bool:
        now_s = time.monotonic()
        if not self._closed and now_s - self._polled_s > _GATE_POLL_S:
            import ray

            self._polled_s = now_s
            self._closed = ray.get(self._gate.is_closed.remote())
        return self._closed


def _row(value: object) -> dict[str, Any]:
    cell = np.empty(1, dtype=object)
    cell[0] = pack(value)
    return {"result": cell}


def _enter(folder: str) -> None:
    """Make relative paths mean the same as where the run was started."""
    if not Path(folder).is_dir():
        raise ConfigError(
            f"the folder {folder}, the base of relative paths, does not exist on the node {os.uname().nodename}; "
            "share it, or give paths of videos and weights that exist on every node"
        )
    os.chdir(folder)
