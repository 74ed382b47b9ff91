"""What runs in each actor of a Ray cluster: the engine of one machine, fed from outside."""

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

from marlin_sdk.batch.inputs import VideoInput
from marlin_sdk.batch.local import LocalEngine
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.workers import Failure, WorkerLimits
from marlin_sdk.errors import ConfigError

__all__ = ["ActorTask", "Embedder", "Gate", "pack", "unpack"]

_ASK_EVERY_S = 1.0
_TRIES = 3  # of a task whose actor died; Ray itself would go on without end


@dataclass(frozen=True)
class ActorTask:
    """What an actor is built from.

    Attributes:
        recipe: how videos are embedded.
        device: where the model runs, as the actor sees it: Ray shows it only its own GPUs.
        workers: processes that decode and find faces.
        limits: when one of them is replaced.
        folder: where relative paths start; None where there are none.
    """

    recipe: Recipe
    device: str
    workers: int
    limits: WorkerLimits
    folder: str | None


def pack(value: object) -> bytes:
    """Into a cell of a Ray dataset."""
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)


def unpack(cell: bytes) -> Any:
    """Out of a cell that `pack` made: of this program, in memory; never of a file."""
    return pickle.loads(cell)


class Gate:
    """A small actor that every other asks before it begins something."""

    def __init__(self) -> None:
        self._closed = False
        self._tries: Counter[str] = Counter()

    def count_try(self, task: str) -> int:
        """How often a task has been begun, this time included: more than once where its actor died."""
        self._tries[task] += 1
        return self._tries[task]

    def close(self) -> None:
        """From now on, no new video may be begun."""
        self._closed = True

    def is_closed(self) -> bool:
        """Whether none may be begun."""
        return self._closed


class Embedder:
    """The callable of `map_batches`: rows that hold a `VideoInput` in, rows that hold its `VideoResult` out.

    It is built once for each actor, and its model with it. Whatever would fail for every video comes back as a row too:
    an exception would have Ray build the actor again, without end.

    Args:
        task: what it does.
        gate: handle of the `Gate`.
    """

    def __init__(self, task: ActorTask, gate: Any) -> None:
        self._gate = gate
        self._asked_s = 0.0
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
            # One run for the actor's whole life, so that its worker processes live as long.
            self._results = engine.run(self._videos())

    def _videos(self) -> Iterator[VideoInput]:
        while True:
            yield self._queue.get()

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Embed a batch of videos.

        Args:
            batch: "video": object (B,) of packed `VideoInput`s.
        Yields:
            "result": object (1,), a packed `VideoResult`, or the exception that must stop the run. They come in the
            order of the inputs: where Ray repeats the task of an actor that died, it skips as many as it has had.
        """
        if self._broken is not None:
            yield _row(self._broken)
            return
        import ray

        videos: list[VideoInput] = [unpack(cell) for cell in batch["video"]]
        tries = ray.get(self._gate.count_try.remote(videos[0].id))
        if tries > _TRIES:
            said = f"the Ray actor that had it, and {len(videos) - 1} others, died {_TRIES} times"
            for video in videos:
                yield _row(VideoResult(video, None, Failure("ActorLostError", said), 0.0))
            return
        done: dict[str, VideoResult] = {}
        try:
            for video in self._embed(deque(videos), done):
                yield _row(done.pop(video.id))
        except Exception as error:
            self._broken = error
            yield _row(error)

    def _embed(self, waiting: deque[VideoInput], done: dict[str, VideoResult]) -> Iterator[VideoInput]:
        """Fill `done`; the videos, in order, as soon as they are in it. Those that may not be begun are left out."""
        begun: deque[VideoInput] = deque()
        running = 0
        while True:
            while waiting and running < self._ahead and not self._is_closed():
                begun.append(waiting.popleft())
                self._queue.put(begun[-1])
                running += 1
            while begun and begun[0].id in done:
                yield begun.popleft()
            if not running:
                return
            result = next(self._results)
            done[result.video.id] = result
            running -= 1

    def _is_closed(self) -> bool:
        now_s = time.monotonic()
        if not self._closed and now_s - self._asked_s > _ASK_EVERY_S:
            import ray

            self._asked_s = now_s
            self._closed = ray.get(self._gate.is_closed.remote())
        return self._closed


def _row(value: object) -> dict[str, Any]:
    cell = np.empty(1, dtype=object)
    cell[0] = pack(value)
    return {"result": cell}


def _enter(folder: str) -> None:
    """Make relative paths mean what they mean for whoever started the run."""
    if not Path(folder).is_dir():
        raise ConfigError(
            f"the folder {folder}, in which relative paths start, is not there on the node {os.uname().nodename}; "
            "share it, or name videos and weights by paths that every node knows"
        )
    os.chdir(folder)
