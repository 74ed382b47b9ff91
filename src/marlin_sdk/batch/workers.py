"""Worker processes that decode and cut videos; one that dies, hangs or takes too much memory is replaced."""

from __future__ import annotations

import logging
import multiprocessing
import signal
import sys
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

from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.clips.cutter import Cut, SourceFacts
from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, DownloadError, MarlinError, MissingExtraError, WeightsError
from marlin_sdk.inputs.videos import VideoInput
from marlin_sdk.processes import exit_with_parent
from marlin_sdk.video.reader import display_name, open_video

__all__ = ["Failure", "Finished", "Message", "Worker", "WorkerLimits", "WorkerLostError"]

_POLL_S = 0.2  # poll interval while waiting for a worker
_HEARTBEAT_S = 1.0  # heartbeat interval of a worker while its video gives no clip
_START_TIMEOUT_S = 120.0  # for a worker to import and build its detector, on a busy machine


@dataclass(frozen=True)
class Finished:
    """A video has been read to its end."""

    facts: SourceFacts


@dataclass(frozen=True)
class Failure:
    """A video could not be read.

    Attributes:
        error: class of the error.
        message: message of the error.
        trace: the traceback, for `--debug`.
        is_known: whether it is a `MarlinError`.
        is_detector_error: whether the detector is unavailable, so that every video that needs it fails.
    """

    error: str
    message: str
    trace: str = ""
    is_known: bool = True
    is_detector_error: bool = False


@dataclass(frozen=True)
class _Heartbeat:
    """The worker is alive and reading."""


@dataclass(frozen=True)
class _Logged:
    """A log record of a worker, which its parent logs."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True)
class _NotStarted:
    """The worker cannot work on this machine: a library is missing."""

    reason: str


Message = Cut | Finished | Failure
_Sent = Message | _Heartbeat | _Logged | _NotStarted


class WorkerLostError(MarlinError, RuntimeError):
    """A worker process died or was stopped; its video may be retried."""


@dataclass(frozen=True)
class WorkerLimits:
    """Limits beyond which a worker is replaced.

    Attributes:
        timeout_s: seconds without a heartbeat, which a worker sends while it decodes frames and detects faces.
        max_memory_mb: resident memory in MB; None is no limit.
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
    """A process that cuts one video after another. It is started by the first, and used by one thread only.

    Args:
        recipe: model, detector and settings.
        model: config of the model, for the size of the clips.
        limits: when the process is replaced.
    """

    def __init__(self, recipe: Recipe, model: ModelConfig, limits: WorkerLimits) -> None:
        self._recipe = recipe
        self._model = model
        self._limits = limits
        self._process: SpawnProcess | None = None
        self._pipe: Connection | None = None
        self._is_killed = False
        self._start_lock = threading.Lock()  # so that `kill` also ends a process that is being started

    def cut(self, video: VideoInput) -> Generator[Message, None, None]:
        """Cut a video; yield clips as they are made, then `Finished` or `Failure`.

        The worker waits until its messages are consumed: only the pipe buffers them.

        Raises:
            WorkerLostError: the process died or was stopped; the next call starts another.
            ConfigError: no process can be started: the recipe cannot be pickled, a library is missing, or the memory
                limit is too low.
        """
        started = self._pipe is not None
        try:
            if not started:
                self._start()
                started = True
            assert self._pipe is not None
            self._pipe.send(video)
            while True:
                message = self._receive(self._limits.timeout_s)
                if isinstance(message, _Logged):
                    logging.getLogger(message.logger).log(message.level, "%s", message.text)
                elif not isinstance(message, _Heartbeat | _NotStarted):
                    yield message
                if isinstance(message, Finished | Failure):
                    return
        except (EOFError, OSError) as error:
            advice = "" if started else "; `marlin-sdk doctor` checks this machine"
            raise WorkerLostError(f"the worker process died ({self._exit_reason()}){advice}") from error
        except GeneratorExit:
            self.stop()  # it is in the middle of a video that is no longer wanted
            raise
        except (WorkerLostError, ConfigError):
            self.stop()
            raise

    def _start(self) -> None:
        # spawn: a fork of a process that runs torch's threads, or holds a GPU, is not safe
        context = multiprocessing.get_context("spawn")
        pipe, child_pipe = context.Pipe()
        process = context.Process(
            target=_serve, args=(child_pipe, self._recipe, self._model), name="marlin-worker", daemon=True
        )
        with self._start_lock:
            if self._is_killed:
                raise WorkerLostError("the worker was stopped before it started")
            try:
                with _ctrl_c_blocked():
                    process.start()
            except (PicklingError, AttributeError, TypeError) as error:
                raise ConfigError(
                    f"the recipe cannot be sent to a worker process: {error}; a detector object must be picklable and "
                    "of a class at the top level of a module"
                ) from error
            self._process, self._pipe = process, pipe
        child_pipe.close()  # so that the pipe ends when the process does
        first = self._receive(_START_TIMEOUT_S, is_starting=True)
        if isinstance(first, _NotStarted):
            raise ConfigError(f"workers cannot start: {first.reason}; `marlin-sdk doctor` says what is missing")
        limit_mb = self._limits.max_memory_mb
        if limit_mb is not None and (used_mb := _resident_mb(process.pid)) > limit_mb:
            raise ConfigError(
                f"max-worker-memory is {limit_mb} MB; a worker takes {used_mb} MB before its first video: raise it"
            )

    def _receive(self, timeout_s: float, *, is_starting: bool = False) -> _Sent:
        assert self._pipe is not None
        waited_since_s = time.monotonic()
        while not self._pipe.poll(_POLL_S):
            if time.monotonic() - waited_since_s > timeout_s:
                raise WorkerLostError(f"the worker sent no heartbeat for {timeout_s:g} s and was stopped")
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
            raise WorkerLostError(
                f"the worker took {used_mb} MB of memory; the limit is {limit_mb} MB, so it was stopped"
            )

    def _exit_reason(self) -> str:
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
        """Kill the process, and start no other; `cut` then raises `WorkerLostError`. Any thread may call it."""
        with self._start_lock:
            self._is_killed = True
            process = self._process
            if process is not None:
                process.kill()

    def stop(self) -> None:
        """End the process immediately, and release its resources."""
        if self._pipe is not None:
            self._pipe.close()
            self._pipe = None
        with self._start_lock:
            process, self._process = self._process, None
        if process is not None:
            process.join(0.5)  # it may be ending by itself, and its own exit status is more informative
            if process.is_alive():
                process.kill()
            process.join()


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Block SIGINT, so that a process started meanwhile never receives the Ctrl-C of its terminal."""
    if sys.platform == "win32":  # which has no such masks
        yield
        return
    resource_tracker.ensure_running()  # starting this helper of multiprocessing later would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _ParentGoneError(Exception):
    """The parent has closed the pipe, or is gone."""


class _ParentPipe:
    """Sends the messages of a worker, and a heartbeat once a second while frames are decoded."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._last_s = time.monotonic()

    def send(self, message: _Sent) -> None:
        try:
            self._pipe.send(message)
        except OSError as error:  # distinct from an OSError of the video source
            raise _ParentGoneError from error
        self._last_s = time.monotonic()

    def heartbeat(self) -> None:
        if time.monotonic() - self._last_s > _HEARTBEAT_S:
            self.send(_Heartbeat())


class _LogToParent(logging.Handler):
    def __init__(self, parent: _ParentPipe) -> None:
        super().__init__()
        self._parent = parent

    def emit(self, record: logging.LogRecord) -> None:
        self._parent.send(_Logged(record.name, record.levelno, record.getMessage()))


def _serve(pipe: Connection, recipe: Recipe, model: ModelConfig) -> None:
    """The main loop of a worker, until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    exit_with_parent()
    try:
        import cv2
    except ImportError as error:  # such as a missing libGL.so.1
        _ParentPipe(pipe).send(_NotStarted(f"{type(error).__name__}: {error}"))
        return
    cv2.setNumThreads(1)  # the other cores are for the other workers
    cutter = recipe.load_cutter(model)
    parent = _ParentPipe(pipe)
    try:
        parent.send(_Heartbeat())
        logging.getLogger().addHandler(_LogToParent(parent))
        while True:
            video: VideoInput = pipe.recv()
            try:
                settings = recipe.settings_for(video)
                with open_video(video.source, source_fps=settings.source_fps) as reader:
                    cuts = cutter.cut(reader, settings, on_frame=parent.heartbeat)
                    for cut in cuts:
                        parent.send(cut)
                    parent.send(Finished(cuts.facts()))
            except _ParentGoneError:
                raise
            except Exception as error:
                parent.send(_failure(error, video))
    except (EOFError, OSError, _ParentGoneError):
        return  # the parent is gone, or has closed the pipe


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
        return 0  # the process has just ended
    return pages * resource.getpagesize() // 2**20
