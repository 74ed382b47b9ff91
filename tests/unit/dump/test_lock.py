"""One run at a time in a folder, and what a dead one leaves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk.dump.lock import Shard, lock_folder
from marlin_sdk.errors import ConfigError

HOLD = """
import sys
from pathlib import Path
from marlin_sdk.dump.lock import Shard, lock_folder
with lock_folder(Path(sys.argv[1]), Shard.parse(sys.argv[2])):
    print("held", flush=True)
    sys.stdin.read()  # until it is killed
"""


@contextmanager
def other_run(folder: Path, shard: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder, shard], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def claim(folder: Path, shard: str) -> None:
    with lock_folder(folder, Shard.parse(shard)):
        pass


@pytest.mark.parametrize(
    ("theirs", "mine"), [("1/1", "1/1"), ("2/3", "2/3"), ("1/1", "2/3"), ("2/3", "1/1"), ("1/2", "2/3")]
)
def test_a_second_run_is_refused_with_the_first_ones_pid_and_host(tmp_path: Path, theirs: str, mine: str) -> None:
    with other_run(tmp_path, theirs) as process, pytest.raises(ConfigError) as caught:
        claim(tmp_path, mine)
    for part in (f"process {process.pid} ", socket.gethostname(), "--shard", str(tmp_path)):
        assert part in str(caught.value)


def test_different_shards_run_side_by_side(tmp_path: Path) -> None:
    with other_run(tmp_path, "1/3"), other_run(tmp_path, "2/3"):
        claim(tmp_path, "3/3")


def test_the_lock_of_a_killed_run_is_stale(tmp_path: Path) -> None:
    with other_run(tmp_path, "1/1") as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        claim(tmp_path, "1/1")
        claim(tmp_path, "2/5")


@given(ids=st.lists(st.text(max_size=20), unique=True), count=st.integers(min_value=1, max_value=7))
def test_each_video_is_in_one_shard(ids: list[str], count: int) -> None:
    shards = [Shard(index, count) for index in range(1, count + 1)]
    assert all(sum(shard.takes(id) for shard in shards) == 1 for id in ids)


def test_a_file_name_that_is_no_text_is_in_one_shard() -> None:
    id = os.fsdecode(b"clips/\xff")
    assert [Shard(index, 3).takes(id) for index in (1, 2, 3)].count(True) == 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5", ""])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(ConfigError, match="expected K/N"):
        Shard.parse(text)


def test_names_of_shards_sort() -> None:
    assert [Shard(index, 16).suffix for index in (1, 10)] == ["-01-of-16", "-10-of-16"]
    assert Shard(1, 1).suffix == ""
