"""The commands many times over, each in a process of its own that need not import everything again."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from uuid import uuid4

# It is no module: a worker process would import the main module again, with all that it has imported here.
SERVER = """
import atexit, json, os, select, signal, socket, sys, threading, warnings
from importlib import import_module
import marlin_sdk
from marlin_sdk.cli import extract, main
for name in sys.argv[2:]:
    import_module(name)

def fork():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from Python 3.12 on, of threads: pyarrow has one, made to be forked
        return os.fork()

listener = socket.socket(fileno=int(sys.argv[1]))
commands = {"marlin-extract": extract.main, "marlin-sdk": main.main}
signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, os.WNOHANG))
while listener in select.select([listener, 0], [], [])[0]:  # until the test process closes our standard input
    connection, _ = listener.accept()
    if fork():
        connection.close()
        continue
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    listener.close()
    message, files, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    job = json.loads(message)
    if pid := fork():
        connection.send(b"%d" % pid)
        connection.send(b"%d" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    connection.close()
    os.setpgid(0, 0)
    os.chdir(job["folder"])
    os.environ.clear()
    os.environ.update(job["environment"])
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal
    status = 99
    try:
        exec(job["before"])
        commands[job["program"]](job["arguments"], prog_name=job["program"])
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:  # without the interpreter's own end, which takes seconds in a process with so many modules
        threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
"""

# What stands in for an installed command: it hands its streams over, and ends as the command ends.
STAND_IN = """\
#!{python} -ISE
import json, os, socket, sys

job = {{
    "program": {program!r},
    "arguments": sys.argv[1:],
    "folder": os.getcwd(),
    "environment": dict(os.environ),
    "before": "",
}}
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
    connection.connect({address!r})
    socket.send_fds(connection, [json.dumps(job).encode()], [0, 1, 2])
    connection.recv(99)
    status = int(connection.recv(99))
sys.exit(status if status >= 0 else 128 - status)
"""


MODULES = (
    "joblib",
    "matplotlib.pyplot",
    "pyarrow.parquet",
    "scipy.stats",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "torch._dynamo",
    "tqdm.auto",
    "marlin_sdk.batch.local",
    "marlin_sdk.cli.dump",
    "marlin_sdk.cli.json_lines",
    "marlin_sdk.marlin",
)
"""What commands spend their first seconds on. Not huggingface_hub, which reads the environment as it is imported."""


class WarmServer:
    """A process that has imported much and forks for each command.

    A command has the environment that it is given. Only what packages read as they are imported is set here, for all:
    warnings are errors, matplotlib draws into files, OpenMP has one thread.
    """

    def __init__(self, matplotlib_folder: Path) -> None:
        own = {
            "MPLBACKEND": "agg",
            "MPLCONFIGDIR": str(matplotlib_folder),
            "OMP_NUM_THREADS": "1",
            "PYTHONWARNINGS": "error",
        }
        self._address = f"\0marlin-{uuid4().hex}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(self._address)
            listener.listen()
            self._process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(listener.fileno()), *MODULES],
                env={**os.environ, **own},
                stdin=subprocess.PIPE,
                pass_fds=[listener.fileno()],
            )

    def write_stand_ins(self, folder: Path) -> Path:
        """Programs with the names of the commands, which run them here; the folder goes first on the PATH."""
        folder.mkdir()
        for program in ("marlin-extract", "marlin-sdk"):
            script = folder / program
            script.write_text(STAND_IN.format(python=sys.executable, program=program, address=self._address))
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
        return folder

    def start(
        self,
        program: str,
        *arguments: str | Path,
        environment: Mapping[str, str],
        files: Sequence[int],
        before: str = "",
    ) -> tuple[socket.socket, int]:
        """Begin a command in the current folder: where its exit status will come from, and its process."""
        job = {
            "program": program,
            "arguments": list(map(str, arguments)),
            "folder": str(Path.cwd()),
            "environment": dict(environment),
            "before": before,
        }
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        connection.connect(self._address)
        socket.send_fds(connection, [json.dumps(job).encode()], files)
        return connection, int(connection.recv(99))

    def run(
        self, program: str, *arguments: str | Path, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, as `subprocess.run` does."""
        with Path(os.devnull).open() as nothing, TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            files = [nothing.fileno(), out.fileno(), err.fileno()]
            connection, _ = self.start(program, *arguments, environment=environment, files=files)
            with connection:
                status = int(connection.recv(99))
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess([program, *arguments], status, out.read(), err.read())

    def close(self) -> None:
        self._process.communicate()


def _read(proc: Path) -> bytes:
    """A file of /proc; nothing where its process or thread has just ended."""
    try:
        return proc.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


class Run:
    """A command at work, the leader of a process group."""

    def __init__(self, connection: socket.socket, pid: int, said: Path) -> None:
        self._connection, self.pid, self._said = connection, pid, said

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
        with self._connection as connection:
            return int(connection.recv(99))


class WarmCommand:
    """`marlin-extract` with the tiny model and the cascade, in the current folder."""

    def __init__(self, server: WarmServer, model: Path, environment: Mapping[str, str]) -> None:
        self._server, self._model, self._environment = server, model, environment
        self._count = 0

    def start(self, *arguments: str | Path, before: str = "") -> Run:
        """Begin a command.

        Args:
            arguments: of the command.
            before: Python to run in its process first.
        """
        self._count += 1
        said = Path.cwd() / f"said-{self._count}.txt"
        usual = ("--model", self._model, "--detector", "lbp", "--device", "cpu")
        with Path(os.devnull).open() as nothing, said.open("w") as out:
            connection, pid = self._server.start(
                "marlin-extract",
                *usual,
                *arguments,
                environment=self._environment,
                files=[nothing.fileno(), out.fileno(), out.fileno()],
                before=before,
            )
        return Run(connection, pid, said)

    def run(self, *arguments: str | Path) -> tuple[int, str]:
        """Exit status, and what was said."""
        run = self.start(*arguments)
        return run.wait(), run.said
