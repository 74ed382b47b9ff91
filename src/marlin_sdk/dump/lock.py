"""Locks on the folder of a dump: one run at a time, or several that process different shards."""

from __future__ import annotations

import json
import os
import re
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from marlin_sdk.errors import ConfigError

__all__ = ["Shard", "lock_folder", "lock_shards"]

_LOCKS = ".locks"


@dataclass(frozen=True)
class Shard:
    """The part of the inputs that one of several jobs processes.

    Attributes:
        index: number of the job, from 1.
        count: number of jobs.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigError(f"shard {self.index}/{self.count}: expected K/N with 1 <= K <= N")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Parse "3/16".

        Raises:
            ConfigError: it is not of the form K/N.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if not match:
            raise ConfigError(f"shard {text!r}: expected K/N, as in 3/16")
        return cls(int(match[1]), int(match[2]))

    @property
    def suffix(self) -> str:
        """Suffix that distinguishes its files from those of other shards; empty if there is only one."""
        return "" if self.count == 1 else f"-{self.index:0{len(str(self.count))}d}-of-{self.count}"

    def takes(self, id: str) -> bool:
        """Whether a video is in this part. Only its id decides, so that jobs may have different lists."""
        return zlib.crc32(os.fsencode(id)) % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@contextmanager
def lock_folder(folder: Path, shard: Shard) -> Iterator[None]:
    """Lock a dump's folder, or a shard of it, while the block runs.

    The operating system releases the locks of a process that has died, so a killed run leaves no stale lock.

    Args:
        folder: folder of the dump; created if missing.
        shard: the part that this run processes.
    Raises:
        ConfigError: another run holds the lock on the folder or the same shard, or divides the folder into another
            number of shards; the message names its process and host.
    """
    locks = folder / _LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        with FileLock(locks / "door"):  # serialises runs that start at the same time
            for path in sorted(locks.glob("run*.lock")):
                _refuse_other_run(path, shard, folder)
            lock = FileLock(locks / f"run{shard.suffix}.lock")
            stack.enter_context(lock)
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "count": shard.count}
            _holder_file(Path(lock.lock_file)).write_text(json.dumps(holder), encoding="utf-8")
        yield


@contextmanager
def lock_shards(folder: Path) -> Iterator[None]:
    """Wait for, and hold, the right to replace sealed files of a dump, which runs of several shards share."""
    (folder / _LOCKS).mkdir(parents=True, exist_ok=True)
    with FileLock(folder / _LOCKS / "sealed"):
        yield


def _refuse_other_run(path: Path, shard: Shard, folder: Path) -> None:
    holder = _read_holder(path)
    if path.name != f"run{shard.suffix}.lock" and holder.get("count") == shard.count:
        return  # another shard of the same division
    try:
        with FileLock(path, timeout=0):
            return  # not held: that run has ended
    except Timeout as error:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.get("since", 0)))
        raise ConfigError(
            f"{folder} is in use by process {holder.get('pid', '?')} on host {holder.get('host', '?')}, running "
            f"since {since}; wait for it, stop it, or give both runs different parts with --shard K/N"
        ) from error


def _holder_file(lock: Path) -> Path:
    return lock.with_suffix(".json")


def _read_holder(lock: Path) -> dict[str, Any]:
    try:
        holder: dict[str, Any] = json.loads(_holder_file(lock).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return holder
