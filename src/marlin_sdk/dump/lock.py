"""Whose turn it is: one run at a time in a dump's folder, or several that take different shards."""

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

__all__ = ["Shard", "lock_folder"]

_LOCKS = ".locks"


@dataclass(frozen=True)
class Shard:
    """The part of the inputs that one job of many takes.

    Attributes:
        index: from 1.
        count: of all jobs.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigError(f"shard {self.index}/{self.count}: expected K/N with 1 <= K <= N")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read "3/16".

        Raises:
            ConfigError: it is no K/N.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        if not match:
            raise ConfigError(f"shard {text!r}: expected K/N, as in 3/16")
        return cls(int(match[1]), int(match[2]))

    @property
    def suffix(self) -> str:
        """What tells its files apart from those of other shards; empty where there is only one."""
        return "" if self.count == 1 else f"-{self.index:0{len(str(self.count))}d}-of-{self.count}"

    def takes(self, id: str) -> bool:
        """Whether a video is in this part: told by its id alone, so that jobs need not see the same list."""
        return zlib.crc32(os.fsencode(id)) % self.count == self.index - 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@contextmanager
def lock_folder(folder: Path, shard: Shard) -> Iterator[None]:
    """Hold a dump's folder, or a shard of it, for as long as the block runs.

    The operating system lets go of the locks of a process that has died, so a killed run leaves none behind.

    Args:
        folder: of the dump; made where it is not there.
        shard: what this run takes.
    Raises:
        ConfigError: another run holds the folder, or the same shard, or has cut it into another number of shards; the
            message names its process and host.
    """
    locks = folder / _LOCKS
    locks.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with FileLock(locks / "door"):  # two that come at once go through it one by one
            for path in sorted(locks.glob("run*.lock")):
                _refuse_other_run(path, shard, folder)
            mine = FileLock(locks / f"run{shard.suffix}.lock")
            held.enter_context(mine)
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "count": shard.count}
            _owner_file(Path(mine.lock_file)).write_text(json.dumps(owner), encoding="utf-8")
        yield


def _refuse_other_run(path: Path, shard: Shard, folder: Path) -> None:
    owner = _read_owner(path)
    if path.name != f"run{shard.suffix}.lock" and owner.get("count") == shard.count:
        return  # another shard of the same cut
    try:
        with FileLock(path, timeout=0):
            return  # whoever held it is gone
    except Timeout as error:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner.get("since", 0)))
        raise ConfigError(
            f"{folder} is in use by process {owner.get('pid', '?')} on host {owner.get('host', '?')}, which has been "
            f"at it since {since}; wait for it, stop it, or give both runs different parts with --shard K/N"
        ) from error


def _owner_file(lock: Path) -> Path:
    return lock.with_suffix(".json")


def _read_owner(lock: Path) -> dict[str, Any]:
    try:
        owner: dict[str, Any] = json.loads(_owner_file(lock).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return owner
