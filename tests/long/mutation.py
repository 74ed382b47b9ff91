"""Files damaged in every way that disks, networks and people know, the same ones in every run."""

from __future__ import annotations

import random
from collections.abc import Callable

__all__ = ["mutate"]


def _flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 3, 30))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _zero(data: bytearray, rng: random.Random) -> None:
    start, end = _part(data, rng)
    data[start:end] = bytes(end - start)


def _scramble(data: bytearray, rng: random.Random) -> None:
    start, end = _part(data, rng)
    data[start:end] = rng.randbytes(end - start)


def _remove(data: bytearray, rng: random.Random) -> None:
    start, end = _part(data, rng)
    del data[start:end]


def _repeat(data: bytearray, rng: random.Random) -> None:
    start, end = _part(data, rng)
    data[start:start] = data[start:end]


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _append(data: bytearray, rng: random.Random) -> None:
    data += rng.randbytes(rng.choice((1, 100, 10_000)))


def _swap(data: bytearray, rng: random.Random) -> None:
    start, end = _part(data, rng)
    other = rng.randrange(len(data) - (end - start) + 1)
    data[start:end], data[other : other + end - start] = data[other : other + end - start], data[start:end]


def _extreme(data: bytearray, rng: random.Random) -> None:
    """Four bytes become a size that nothing has."""
    start = rng.randrange(max(1, len(data) - 4))
    data[start : start + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00", b"\x80\0\0\0"))


def _part(data: bytearray, rng: random.Random) -> tuple[int, int]:
    size = min(len(data), rng.choice((1, 16, 500, max(1, len(data) // 10), max(1, len(data) // 3))))
    start = rng.randrange(len(data) - size + 1)
    return start, start + size


_KINDS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip, _zero, _scramble, _remove, _repeat, _truncate, _append, _swap, _extreme,
)  # fmt: skip


def mutate(content: bytes, seed: int) -> bytes:
    """Damage a file once, or a few times.

    Args:
        content: the good file, not empty.
        seed: the same seed gives the same file.
    """
    rng = random.Random(seed)
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        if data:
            rng.choice(_KINDS)(data, rng)
    return bytes(data)
