"""The engine for one machine: workers cut videos, and one thread per device embeds clips in batches across videos."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from marlin_sdk.batch.memory import release_free_memory
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.batch.results import VideoResult
from marlin_sdk.batch.workers import Failure, Finished, Message, Worker, WorkerLimits, WorkerLostError
from marlin_sdk.clips.cut import Clip
from marlin_sdk.clips.cutter import SourceFacts
from marlin_sdk.errors import ConfigError, NoFaceError
from marlin_sdk.features import SkippedWindow, WindowFeatures
from marlin_sdk.inputs.videos import VideoInput

if TYPE_CHECKING:
    from marlin_sdk.marlin import Marlin

__all__ = ["ENCODER_THREADS", "LocalEngine"]

ENCODER_THREADS = "marlin-encoder"
"""Name prefix of the threads that embed."""

_TRIES = 2  # for a video whose worker is lost
_POLL_S = 0.1
_IDLE_S = 0.02  # without a new clip, after which an idle encoder takes a partial batch
_JOIN_TIMEOUT_S = 5.0  # for a thread to notice that its worker is gone
_TRIM_S = 5.0  # interval of returning free memory to the system
_IN_FLIGHT = 2  # batches per device: one being embedded, one waiting


@dataclass(frozen=True)
class _Started:
    """A worker starts or restarts a video; earlier results of it are discarded."""


@dataclass(eq=False)
class _OpenVideo:
    """A video whose rows are not complete yet."""

    video: VideoInput
    started_s: float = field(default_factory=time.monotonic)
    rows: dict[int, WindowFeatures] = field(default_factory=dict)
    num_clips: int = 0
    skipped: list[SkippedWindow] = field(default_factory=list)
    facts: SourceFacts | None = None


@dataclass(frozen=True)
class _Job:
    """A clip waiting to be embedded, and the row that it becomes."""

    owner: _OpenVideo
    row: int
    clip: Clip


class LocalEngine:
    """Embeds many videos with processes that decode and models that embed.

    Args:
        recipe: model, detector and settings.
        models: one per device, with the same weights.
        workers: number of processes that decode and find faces.
        limits: when a worker is replaced.
    Raises:
        ConfigError: fewer than one worker.
    """

    def __init__(self, recipe: Recipe, models: Sequence[Marlin], *, workers: int, limits: WorkerLimits) -> None:
        if workers < 1:
            raise ConfigError(f"workers is {workers}; expected at least 1")
        self._recipe = recipe
        self._models = models
        self._num_workers = workers
        self._limits = limits

    def run(
        self,
        videos: Iterable[VideoInput],
        *,
        drain: threading.Event | None = None,
        on_rows: Callable[[int], object] = lambda _: None,
    ) -> Generator[VideoResult, None, None]:
        """Embed videos; each result is yielded as soon as it is complete, not in input order.

        Args:
            videos: with unique ids; taken one by one as workers become free.
            drain: once set, no new video is started; those in flight are finished.
            on_rows: called with the number of rows of each embedded batch.
        Raises:
            MarlinError: an error that affects every video: a recipe that cannot be pickled, a device without memory.
        """
        workers = [Worker(self._recipe, self._models[0].config, self._limits) for _ in range(self._num_workers)]
        source = _Source(videos, drain or threading.Event())
        return _Run(self._recipe, self._models, workers, source, on_rows).results()


class _Run:
    """One run of the engine: threads that forward the output of workers, and the consumer of their clips."""

    def __init__(
        self,
        recipe: Recipe,
        models: Sequence[Marlin],
        workers: Sequence[Worker],
        source: _Source,
        on_rows: Callable[[int], object],
    ) -> None:
        self._recipe = recipe
        self._model = models[0]
        self._free_models: queue.SimpleQueue[Marlin] = queue.SimpleQueue()
        for model in models:
            self._free_models.put(model)
        self._encoders = ThreadPoolExecutor(len(models), thread_name_prefix=ENCODER_THREADS)
        self._max_in_flight = _IN_FLIGHT * len(models)
        self._workers = workers
        self._source = source
        self._on_rows = on_rows
        self._batch_size = recipe.settings.batch_size
        # Waiting clips take most of the memory, so their number is bounded, however many videos there are.
        self._inbox: queue.Queue[tuple[VideoInput, Message | _Started] | BaseException | None] = queue.Queue(
            maxsize=max(2 * self._batch_size, len(workers))
        )
        self._abort = threading.Event()
        self._open: dict[str, _OpenVideo] = {}
        self._batch: list[_Job] = []
        self._in_flight: deque[tuple[Future[list[WindowFeatures]], list[_Job]]] = deque()
        self._trimmed_s = time.monotonic()

    def results(self) -> Generator[VideoResult, None, None]:
        pumps = [threading.Thread(target=self._pump, args=(worker,), daemon=True) for worker in self._workers]
        for pump in pumps:
            pump.start()
        try:
            yield from self._consume(len(pumps))
        finally:
            self._abort.set()
            for worker in self._workers:
                worker.kill()
            for pump in pumps:
                pump.join(_JOIN_TIMEOUT_S)
            # Do not wait: a batch may take a minute in a large model, and a second Ctrl-C must stop immediately.
            self._encoders.shutdown(wait=False, cancel_futures=True)

    # Pumps: one thread per worker --------------------------------------------------------------------------------

    def _pump(self, worker: Worker) -> None:
        try:
            while not self._abort.is_set() and (video := self._source.take()) is not None:
                self._pump_video(worker, video)
        except BaseException as error:
            self._put(error)
        finally:
            worker.stop()
            self._put(None)

    def _pump_video(self, worker: Worker, video: VideoInput) -> None:
        for attempt in range(1, _TRIES + 1):
            self._put((video, _Started()))
            try:
                with closing(worker.cut(video)) as messages:
                    for message in messages:
                        if not self._put((video, message)):
                            break
                return
            except WorkerLostError as error:
                if self._abort.is_set():
                    return
                if attempt == _TRIES:
                    self._put((video, Failure(type(error).__name__, f"{error}; tried {_TRIES} times")))

    def _put(self, item: tuple[VideoInput, Message | _Started] | BaseException | None) -> bool:
        """Wait until the queue has room; False if the run was aborted meanwhile."""
        while not self._abort.is_set():
            try:
                self._inbox.put(item, timeout=_POLL_S)
                return True
            except queue.Full:
                continue
        return False

    # The consumer --------------------------------------------------------------------------------------------------

    def _consume(self, pumping: int) -> Iterator[VideoResult]:
        while pumping:
            yield from self._collect(wait=len(self._in_flight) >= self._max_in_flight)
            try:
                item = self._inbox.get(timeout=_POLL_S if self._in_flight or not self._batch else _IDLE_S)
            except queue.Empty:
                if not self._in_flight:
                    self._send()  # an idle encoder gains nothing by waiting for a full batch
                continue
            if item is None:
                pumping -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield from self._take(*item)
        self._send()
        while self._in_flight:
            yield from self._collect(wait=True)

    def _take(self, video: VideoInput, message: Message | _Started) -> Iterator[VideoResult]:
        if isinstance(message, _Started):
            self._discard(video.id)
            self._open[video.id] = _OpenVideo(video)
            return
        owner = self._open[video.id]
        if isinstance(message, Failure):
            self._discard(video.id)
            yield VideoResult(video, None, message, time.monotonic() - owner.started_s)
        elif isinstance(message, Finished):
            owner.facts = message.facts
            yield from self._close(owner)
        elif isinstance(message, SkippedWindow):
            owner.skipped.append(message)
        else:
            for clip in message:
                self._batch.append(_Job(owner, owner.num_clips, clip))
                owner.num_clips += 1
                if len(self._batch) == self._batch_size:
                    self._send()

    def _discard(self, id: str) -> None:
        """Discard the clips and rows of a video whose worker was lost, or that cannot be read to its end."""
        discarded = self._open.pop(id, None)
        self._batch = [job for job in self._batch if job.owner is not discarded]

    def _send(self) -> None:
        if self._batch:
            batch, self._batch = self._batch, []
            future = self._encoders.submit(self._embed, [job.clip for job in batch])
            self._in_flight.append((future, batch))

    def _embed(self, clips: list[Clip]) -> list[WindowFeatures]:
        model, settings = self._free_models.get(), self._recipe.settings
        try:
            return model.embed_clips(clips, keep_seq=settings.keep_seq, pool=settings.pool)
        finally:
            self._free_models.put(model)

    def _collect(self, *, wait: bool) -> Iterator[VideoResult]:
        """Collect the rows of finished batches; with `wait`, at least of the oldest one."""
        while self._in_flight and (wait or self._in_flight[0][0].done()):
            future, batch = self._in_flight.popleft()
            wait = False
            for job, row in zip(batch, future.result(), strict=True):
                job.owner.rows[job.row] = row
            self._on_rows(len(batch))
            self._trim()
            for owner in dict.fromkeys(job.owner for job in batch):
                yield from self._close(owner)

    def _trim(self) -> None:
        now_s = time.monotonic()
        if now_s - self._trimmed_s >= _TRIM_S:
            release_free_memory()
            self._trimmed_s = now_s

    def _close(self, owner: _OpenVideo) -> Iterator[VideoResult]:
        """Yield the result of a video once it is read to its end and all of its clips are embedded."""
        if owner.facts is None or len(owner.rows) < owner.num_clips:
            return  # not complete yet; never, if it was discarded because its worker was lost
        del self._open[owner.video.id]
        seconds = time.monotonic() - owner.started_s
        rows = [owner.rows[index] for index in range(owner.num_clips)]
        try:
            features = self._model.gather(rows, owner.skipped, owner.facts, self._recipe.settings_for(owner.video))
        except (NoFaceError, ConfigError) as error:
            failure = Failure(type(error).__name__, str(error))
            yield VideoResult(owner.video, None, failure, seconds, owner.facts, len(owner.skipped))
            return
        yield VideoResult(owner.video, features, None, seconds, owner.facts)


class _Source:
    """Videos that are not started yet, shared by several threads."""

    def __init__(self, videos: Iterable[VideoInput], drain: threading.Event) -> None:
        self._videos = iter(videos)
        self._drain = drain
        self._lock = threading.Lock()

    def take(self) -> VideoInput | None:
        """The next video; None if there is none, or `drain` is set."""
        with self._lock:
            return None if self._drain.is_set() else next(self._videos, None)
