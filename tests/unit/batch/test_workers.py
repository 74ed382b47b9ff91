"""One worker process: alive while frames come, gone when it is to be gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.making import TINY, lay
from tests.patience import wait_for
from tests.unit.batch.engines import SETTINGS, recipe, video
from tests.unit.dump.example_dumps import ROOT

from marlin_sdk import ConfigError
from marlin_sdk.batch.workers import Finished, Message, Worker, WorkerLimits, WorkerLostError

ORPHANS = """
import sys
from pathlib import Path
from tests.making import TINY, lay
from tests.unit.batch.engines import recipe
from marlin_sdk.inputs.videos import VideoInput
from marlin_sdk.batch.workers import Worker, WorkerLimits
worker = Worker(recipe(Path(sys.argv[1]), "hang"), TINY, WorkerLimits())
list(worker.cut(VideoInput("bad", sys.argv[2])))
"""


TORMENTOR = """
import os, signal, sys, time
def workers(folder=f"/proc/{sys.argv[1]}/task"):
    children = [child for task in os.listdir(folder) for child in open(f"{folder}/{task}/children").read().split()]
    started = {child: open(f"/proc/{child}/cmdline").read() for child in children if int(child) != os.getpid()}
    return [int(child) for child, command in started.items() if "spawn_main" in command]
print("ready", flush=True)
while True:
    try:
        for worker in workers():
            os.kill(worker, signal.SIGINT)
    except OSError:
        pass  # it has just ended
    time.sleep(0.002)
"""


def children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def clips(messages: list[Message]) -> int:
    assert isinstance(messages[-1], Finished), messages[-1]
    return sum(len(message) for message in messages if isinstance(message, list))


def test_slow_is_not_hung(tmp_path: Path) -> None:
    each_frame = replace(SETTINGS, detect_every=1)
    worker = Worker(recipe(tmp_path, "slow", each_frame), TINY, WorkerLimits(timeout_s=8))
    try:
        messages = []
        gaps_s, last_s = [], time.monotonic()
        for message in worker.cut(video(tmp_path / "bad.mp4", 20, harm_at=0)):
            messages.append(message)
            gaps_s.append(time.monotonic() - last_s)
            last_s = time.monotonic()
        assert clips(messages) == 2
        assert max(gaps_s) > 8, "it was not slow enough to tell"
    finally:
        worker.stop()


def test_one_process_cuts_many_videos_and_the_next_call_replaces_a_dead_one(tmp_path: Path) -> None:
    worker = Worker(recipe(tmp_path), TINY, WorkerLimits())
    pids = []
    try:
        for index in range(3):
            assert clips(list(worker.cut(video(tmp_path / f"{index}.mp4")))) == 3
            assert worker._process is not None
            pids.append(worker._process.pid)
        assert len(set(pids)) == 1
        os.kill(pids[0] or 0, signal.SIGSEGV)
        with pytest.raises(WorkerLostError, match=r"died \(signal SIGSEGV\)"):
            list(worker.cut(video(tmp_path / "3.mp4")))
        assert clips(list(worker.cut(video(tmp_path / "3.mp4")))) == 3
    finally:
        worker.stop()


def test_ctrl_c_in_a_terminal_does_not_reach_a_worker_at_any_time(tmp_path: Path) -> None:
    own = signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal: a child does not ignore it
    worker = Worker(recipe(tmp_path), TINY, WorkerLimits())
    film = video(tmp_path / "a.mp4")
    with subprocess.Popen([sys.executable, "-c", TORMENTOR, str(os.getpid())], stdout=subprocess.PIPE) as tormentor:
        try:
            assert tormentor.stdout is not None
            assert tormentor.stdout.readline() == b"ready\n"
            assert clips(list(worker.cut(film))) == 3
        finally:
            tormentor.kill()
            worker.stop()
            signal.signal(signal.SIGINT, own)


def test_killed_worker_starts_no_other_process(tmp_path: Path) -> None:
    worker = Worker(recipe(tmp_path), TINY, WorkerLimits())
    worker.kill()
    with pytest.raises(WorkerLostError, match="stopped before it started"):
        list(worker.cut(video(tmp_path / "a.mp4")))


def test_hung_worker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    film = video(tmp_path / "bad.mp4", harm_at=0)
    command = [sys.executable, "-c", ORPHANS, str(tmp_path), film.source]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{ROOT / 'src'}:{ROOT}"}
    ) as parent:
        wait_for((tmp_path / "tries").exists)
        (worker,) = [pid for pid in children(parent.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        parent.kill()
        parent.wait()
        wait_for(lambda: not is_alive(worker))


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"timeout_s": 0}, "timeout is 0 s; expected more than 0"),
        ({"timeout_s": float("nan")}, "timeout is nan s"),
        ({"max_memory_mb": 0}, "max-worker-memory is 0 MB; expected at least 1"),
    ],
)
def test_limits_that_make_no_sense(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        WorkerLimits(**limits)


def test_missing_library_sends_to_the_doctor(tmp_path: Path) -> None:
    """OpenCV without libGL: the usual state of a fresh container."""
    broken = lay(tmp_path / "broken" / "cv2.py", b"raise ImportError('libGL.so.1: cannot open shared object file')")
    done = subprocess.run(
        [sys.executable, "-c", ORPHANS, str(tmp_path / "marks"), str(lay(tmp_path / "bad.mp4"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(broken.parent), str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1] == (
        "marlin_sdk.errors.ConfigError: workers cannot start: ImportError: libGL.so.1: cannot open shared object file; "
        "`marlin-sdk doctor` says what is missing"
    )


def test_worker_that_dies_as_it_starts_sends_to_the_doctor(tmp_path: Path) -> None:
    deadly = lay(tmp_path / "deadly" / "cv2.py", b"import os; os._exit(7)")
    done = subprocess.run(
        [sys.executable, "-c", ORPHANS, str(tmp_path / "marks"), str(lay(tmp_path / "bad.mp4"))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(deadly.parent), str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "the worker process died (exit status 7); `marlin-sdk doctor` checks this machine" in done.stderr
