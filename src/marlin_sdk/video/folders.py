"""The videos below a folder, and what in it is none."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

from marlin_sdk.video.reader import VIDEO_SUFFIXES

__all__ = ["describe_left_out", "videos_below"]

_NAMED = 5  # suffixes of left-out files; the rest is counted

logger = logging.getLogger("marlin_sdk")


def videos_below(folder: str) -> Iterator[str]:
    """Find videos by their suffix; a linked folder is visited once, hidden files (macOS adds "._talk.mp4") never.

    Files with another suffix are counted in a warning, unless there is no video at all.

    Yields:
        Paths, sorted within each folder. A folder below that cannot be read is yielded too, so that it is reported as
        failed when it is opened.
    """
    entered, unreadable, found = set(), list[str](), False
    left_out: dict[str, list[str]] = {}
    walk = os.walk(folder, followlinks=True, onerror=lambda error: unreadable.append(error.filename))
    for where, folders, files in walk:
        yield from unreadable
        unreadable.clear()
        real = os.path.realpath(where)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            if suffix in VIDEO_SUFFIXES:
                found = True
                yield os.path.join(where, name)
            else:
                left_out.setdefault(suffix or "without suffix", []).append(name)
    yield from (path for path in unreadable if path != folder)
    if found and left_out:
        logger.warning("%s: %s", folder, describe_left_out(left_out))


def describe_left_out(left_out: dict[str, list[str]]) -> str:
    """How many files of a folder are left out, and which.

    Args:
        left_out: their names by suffix.
    """
    by_count = sorted(left_out.items(), key=lambda item: -len(item[1]))
    named = [f"{len(files)} {suffix} ({files[0]}{', ...' * (len(files) > 1)})" for suffix, files in by_count[:_NAMED]]
    rest = sum(len(files) for _, files in by_count[_NAMED:])
    total = sum(map(len, left_out.values()))
    listed = ", ".join([*named, *([f"{rest} others"] if rest else [])])
    return f"{total} files are left out, which are no videos by their suffix: {listed}; name a file to have it read"
