"""Processes that decode and cut videos: each replaced when it dies, hangs, or takes too much memory."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from pickle import PicklingError

from marlin_sdk.batch.inputs import VideoInput
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.clips.cutter import Cut, SourceFacts
from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, DownloadError, MarlinError, MissingExtraError, WeightsError
from marlin_sdk.processes import exit_with_parent
from marlin_sdk.video.reader import display_name, open_video

__all__ = ["Failure", "Finished", "Message", "Worker", "WorkerLimits", "WorkerLostError"]

_LOOK_S = 0.2  # from one look at a silent worker to the next
_PULSE_S = 1.0  # from one sign of life of a worker to the next, while its video gives no clip
_START_S = 120.0  # for a worker to import and build its detector, on a busy machine


@dataclass(frozen=True)
class Finished:
    """A video has been read to its end."""

    facts: SourceFacts


@dataclass(frozen=True)
class Failure:
    """A video could not be read.

    Attributes:
        error: class of the error.
        message: what it says.
        trace: the traceback, for `--debug`.
        is_known: whether it is a `MarlinError`.
        is_detector_error: whether the detector cannot be had, so that every video that needs one fails alike.
    """

    error: str
    message: str
    trace: str = ""
    is_known: bool = True
    is_detector_error: bool = False


@dataclass(frozen=True)
class _Pulse:
    """The worker is alive and reading."""


@dataclass(frozen=True)
class _Logged:
    """What a worker would have logged; its parent does, where a person sees it."""

    logger: str
    level: int
    text: str


Message = Cut | Finished | Failure
_Sent = Message | _Pulse | _Logged


class WorkerLostError(MarlinError, RuntimeError):
    """A worker process died, or had to be stopped; its video may be tried again."""


@dataclass(frozen=True)
class WorkerLimits:
    """What a worker may take before it is replaced.

    Attributes:
        timeout_s: without a sign of life: a frame decoded, a face looked for.
        max_memory_mb: resident memory; None is no limit.
    """

    timeout_s: float = 300.0
    max_memory_mb: int | None = None

    def __post_init__(self) -> None:
        if not self.timeout_s > 0:
            raise ConfigError(f"timeout is {self.timeout_s} s; expected more than 0")
        if self.max_memory_mb is not None and self.max_memory_mb < 1:
            raise ConfigError(f"max-worker-memory is {self.max_memory_mb} MB; expected at least 1")
        if self.max_memory_mb is not None and not _STATM.exists():
            raise ConfigError("max-worker-memory needs /proc, which this system lacks; leave it out")


class Worker:
    """A process that cuts one video after another. It is started by the first, and used by one thread.

    Args:
        recipe: how.
        model: the size of the clips.
        limits: when it is replaced.
    """

    def __init__(self, recipe: Recipe, model: ModelConfig, limits: WorkerLimits) -> None:
        self._recipe = recipe
        self._model = model
        self._limits = limits
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._is_killed = False
        self._start_lock = threading.Lock()  # a process that is just being started is killed too

    def cut(self, video: VideoInput) -> Generator[Message, None, None]:
        """Have a video cut; clips come as they are made, `Finished` or `Failure` comes last.

        While nobody takes them, the worker waits: nothing piles up but what a pipe holds.

        Raises:
            WorkerLostError: the process died or was stopped; the next call starts another.
            ConfigError: no process can be started: the recipe cannot be pickled, or the memory allowed is too little.
        """
        try:
            if self._pipe is None:
                self._start()
            assert self._pipe is not None
            self._pipe.send(video)
            while True:
                message = self._receive(self._limits.timeout_s)
                if isinstance(message, _Logged):
                    logging.getLogger(message.logger).log(message.level, "%s", message.text)
                elif not isinstance(message, _Pulse):
                    yield message
                if isinstance(message, Finished | Failure):
                    return
        except (EOFError, OSError) as error:
            raise WorkerLostError(f"the worker process died ({self._how_it_ended()})") from error
        except GeneratorExit:
            self.stop()  # it is in the middle of a video that nobody wants
            raise
        except WorkerLostError:
            self.stop()
            raise

    def _start(self) -> None:
        # spawn: a fork of a process that runs torch's threads, or holds a GPU, is not safe
        context = multiprocessing.get_context("spawn")
        pipe, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._recipe, self._model), name="marlin-worker", daemon=True
        )
        with self._start_lock:
            if self._is_killed:
                raise WorkerLostError("the worker was stopped before it began")
            try:
                with _ctrl_c_blocked():
                    process.start()
            except (PicklingError, AttributeError, TypeError) as error:
                raise ConfigError(
                    f"the recipe cannot be sent to a worker process: {error}; a detector that is an object needs a "
                    "class at the top of a module, and nothing in it that cannot be pickled"
                ) from error
            self._process, self._pipe = process, pipe
        theirs.close()  # so that the pipe ends when the process does
        self._receive(_START_S, is_starting=True)
        limit_mb = self._limits.max_memory_mb
        if limit_mb is not None and (used_mb := _resident_mb(process.pid)) > limit_mb:
            raise ConfigError(
                f"max-worker-memory is {limit_mb} MB; a worker takes {used_mb} MB before its first video: allow more"
            )

    def _receive(self, timeout_s: float, *, is_starting: bool = False) -> _Sent:
        assert self._pipe is not None
        waited_since_s = time.monotonic()
        while not self._pipe.poll(_LOOK_S):
            if time.monotonic() - waited_since_s > timeout_s:
                raise WorkerLostError(f"the worker gave no sign of life for {timeout_s:g} s and was stopped")
            if not is_starting:
                self._check_memory()
        if not is_starting:
            self._check_memory()
        message: _Sent = self._pipe.recv()
        return message

    def _check_memory(self) -> None:
        limit_mb = self._limits.max_memory_mb
        pid = self._process.pid if self._process else None
        if limit_mb is not None and (used_mb := _resident_mb(pid)) > limit_mb:
            raise WorkerLostError(f"the worker took {used_mb} MB of memory, {limit_mb} are allowed, and was stopped")

    def _how_it_ended(self) -> str:
        process = self._process
        self.stop()
        code = process.exitcode if process else None
        if code is None:
            return "it did not start"
        if code >= 0:
            return f"exit status {code}"
        try:
            return f"signal {signal.Signals(-code).name}"
        except ValueError:
            return f"signal {-code}"

    def kill(self) -> None:
        """End the process, and start no other; whoever waits for it sees it die. For another thread to call."""
        with self._start_lock:
            self._is_killed = True
            process = self._process
            if process is not None:
                process.kill()

    def stop(self) -> None:
        """End the process at once, and let go of it."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        with self._start_lock:
            process, self._process = self._process, None
        if process is not None:
            process.join(0.5)  # it may be ending by itself, and its own exit code says more
            if process.is_alive():
                process.kill()
            process.join()


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """A process started meanwhile is spared the Ctrl-C of its terminal from its first moment on."""
    resource_tracker.ensure_running()  # multiprocessing's own helper: starting it would let the signal through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _ParentGoneError(Exception):
    """Nobody listens any more."""


class _ToParent:
    """A worker's way to tell what it has, and once a second that frames are still coming."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._last_s = time.monotonic()

    def send(self, message: _Sent) -> None:
        try:
            self._pipe.send(message)
        except OSError as error:  # told apart from what a video's own source may raise
            raise _ParentGoneError from error
        self._last_s = time.monotonic()

    def beat(self) -> None:
        if time.monotonic() - self._last_s > _PULSE_S:
            self.send(_Pulse())


class _LogToParent(logging.Handler):
    def __init__(self, parent: _ToParent) -> None:
        super().__init__()
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        self._parent.send(_Logged(record.name, record.levelno, record.getMessage()))


def _serve(pipe: Connection, recipe: Recipe, model: ModelConfig) -> None:
    """What a worker does until its pipe ends."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C ends
    exit_with_parent()
    cv2.setNumThreads(1)  # the other cores belong to the other workers
    cutter = recipe.load_cutter(model)
    parent = _ToParent(pipe)
    try:
        parent.send(_Pulse())
        logging.getLogger().addHandler(_LogToParent(parent))
        while True:
            video: VideoInput = pipe.recv()
            try:
                settings = recipe.settings_for(video)
                with open_video(video.source, source_fps=settings.source_fps) as reader:
                    cuts = cutter.cut(reader, settings, on_frame=parent.beat)
                    for cut in cuts:
                        parent.send(cut)
                    parent.send(Finished(cuts.facts()))
            except _ParentGoneError:
                raise
            except Exception as error:
                parent.send(_failure(error, video))
    except (EOFError, OSError, _ParentGoneError):
        return  # the parent is gone, or wants no more


def _failure(error: Exception, video: VideoInput) -> Failure:
    return Failure(
        type(error).__name__,
        str(error),
        "".join(traceback.format_exception(error)).replace(video.source, display_name(video.source)),
        is_known=isinstance(error, MarlinError),
        is_detector_error=isinstance(error, DownloadError | MissingExtraError | WeightsError),
    )


_STATM = Path("/proc/self/statm")


def _resident_mb(pid: int | None) -> int:
    import resource

    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0  # it has just ended
    return pages * resource.getpagesize() // 2**20
