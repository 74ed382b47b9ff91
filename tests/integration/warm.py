"""`marlin-extract` many times over, each in a process of its own that need not import everything again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.patience import wait_for

SERVER = """
import json, os, signal, sys
import pyarrow.parquet, torch._dynamo, tqdm.auto
import marlin_sdk.batch.local, marlin_sdk.cli.dump, marlin_sdk.cli.json_lines, marlin_sdk.marlin
from marlin_sdk.cli.extract import main
for line in sys.stdin:
    job = json.loads(line)
    if "wait" in job:
        print(os.waitstatus_to_exitcode(os.waitpid(job["wait"], 0)[1]), flush=True)
    elif (pid := os.fork()):
        print(pid, flush=True)
    else:
        os.setpgid(0, 0)
        os.chdir(job["folder"])
        out = os.open(job["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for descriptor, file in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, out)):
            os.dup2(file, descriptor)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
        exec(job["before"])
        status = 99
        try:
            main(job["arguments"], prog_name="marlin-extract")
        except SystemExit as end:
            status = end.code
        finally:  # without the interpreter's own end, which takes seconds in a process with so many modules
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
"""


def _read(proc: Path) -> bytes:
    """A file of /proc; nothing where its process or thread has just ended."""
    try:
        return proc.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class Run:
    """A command at work, the leader of a process group."""

    def __init__(self, server: WarmCommand, pid: int, said: Path) -> None:
        self._server, self.pid, self._said = server, pid, said

    @property
    def said(self) -> str:
        return self._said.read_text()

    def send(self, number: signal.Signals, *, to_all: bool = False) -> None:
        (os.killpg if to_all else os.kill)(self.pid, number)

    def workers(self) -> list[int]:
        found = []
        for task in sorted(Path(f"/proc/{self.pid}").glob("task/*")):
            for child in _read(task / "children").split():
                if b"spawn_main" in _read(Path(f"/proc/{int(child)}/cmdline")):
                    found.append(int(child))
        return found

    def wait(self) -> int:
        """Its exit status, or minus the signal that ended it."""
        return int(self._server.ask({"wait": self.pid}))


class WarmCommand:
    """A process that has imported everything and forks for each command."""

    def __init__(self, model: Path, environment: Mapping[str, str]) -> None:
        self._model = model
        self._count = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env={**environment, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, job: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline()

    def start(self, *arguments: str | Path, before: str = "") -> Run:
        """Begin a command in the current folder, with the tiny model and the cascade.

        Args:
            arguments: of the command.
            before: Python to run in its process first.
        """
        self._count += 1
        said = Path.cwd() / f"said-{self._count}.txt"
        usual = ["--model", str(self._model), "--detector", "lbp", "--device", "cpu"]
        job = {"folder": str(Path.cwd()), "said": str(said), "before": before}
        pid = self.ask({**job, "arguments": [*usual, *map(str, arguments)]})
        wait_for(said.exists)
        return Run(self, int(pid), said)

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """Exit status, and what was said."""
        run = self.start(*arguments)
        return run.wait(), run.said

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
