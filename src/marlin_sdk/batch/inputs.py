"""What a person names on the command line -> the videos meant, each with a name for its output."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from marlin_sdk.errors import ConfigError
from marlin_sdk.video.reader import VIDEO_SUFFIXES

__all__ = ["VideoInput", "find_videos"]


@dataclass(frozen=True)
class VideoInput:
    """One video to embed.

    Attributes:
        source: its path or URL; a folder stands for a folder of frames.
        name: where its output goes, relative to the output folder, without a suffix; never absolute, never upwards.
    """

    source: str
    name: PurePosixPath


def find_videos(inputs: Iterable[str]) -> list[VideoInput]:
    """Expand files, folders and URLs.

    A file or URL stands for itself, a folder for all videos below it (hidden ones left out), or, if it holds none, for
    a folder of frames. A path that is not there is kept, to fail by name later. The same file named twice counts once.

    Args:
        inputs: paths and URLs.
    Returns:
        The videos in the order they were named, folders sorted. Their names differ, also where upper and lower case are
        the same: a video is named by its path below the folder, without suffix; those for which that is not unique by
        their suffix too, else by as much of their path as it takes.
    Raises:
        ConfigError: an input that is empty.
    """
    found: dict[str, tuple[str, PurePosixPath]] = {}
    for text in inputs:
        if not text.strip():
            raise ConfigError("an INPUT is empty; expected a video file, a URL or a folder")
        for source, below in _expand(text):
            found.setdefault(source if _is_url(source) else os.path.realpath(source), (source, below))
    wholes = [_whole(source) for source, _ in found.values()]
    shared = len(PurePosixPath(os.path.commonpath([whole.parent for whole in wholes])).parts) if wholes else 0
    names = [
        _candidates(below, PurePosixPath(*whole.parts[shared:]), has_suffix=not _is_folder(source))
        for (source, below), whole in zip(found.values(), wholes, strict=True)
    ]
    return [VideoInput(source, name) for (source, _), name in zip(found.values(), _unique(names), strict=True)]


def _is_url(text: str) -> bool:
    return "://" in text


def _is_folder(text: str) -> bool:
    return not _is_url(text) and os.path.isdir(text)  # noqa: PTH112 - Path.is_dir() raises for a name that is too long


def _expand(text: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Each video that an input stands for, with its path below that input."""
    files = [file for file in sorted(Path(text).rglob("*")) if _is_video(file, Path(text))] if _is_folder(text) else []
    for file in files:
        yield str(file), PurePosixPath(file.relative_to(text).as_posix())
    if not files:
        yield text, PurePosixPath(_whole(text).name)


def _is_video(file: Path, folder: Path) -> bool:
    # Hidden are the `._talk.mp4` that macOS lays beside talk.mp4 on foreign disks, and the folders of caches.
    hidden = any(part.startswith(".") for part in file.relative_to(folder).parts)
    return file.suffix.lower() in VIDEO_SUFFIXES and not hidden and file.is_file()


def _whole(source: str) -> PurePosixPath:
    """A source's full path as a relative one in which nothing leads upwards; of a URL, host and path."""
    if not _is_url(source):
        parts = list(Path(os.path.abspath(source)).parts[1:])  # noqa: PTH100 - resolve() would follow links
    else:
        address = re.split(r"[?#]", source.split("://", 1)[1])[0]
        host, _, path = address.partition("/")
        parts = [re.sub(r"[^\w.-]+", "_", part).strip(".") for part in (host.rpartition("@")[2], *path.split("/"))]
    return PurePosixPath(*(list(filter(None, parts)) or ["video"]))


def _candidates(below: PurePosixPath, whole: PurePosixPath, *, has_suffix: bool) -> list[PurePosixPath]:
    """The names that would do for a video, the shortest first; what looks like the suffix of a folder is none."""
    return [below.with_suffix(""), below, whole.with_suffix(""), whole] if has_suffix else [below, whole]


def _unique(candidates: list[list[PurePosixPath]]) -> list[PurePosixPath]:
    """For each video the first of its names that no other has; a number behind it where all are taken."""
    chosen = [names.pop(0) for names in candidates]
    while clashes := [index for index in _taken_twice(chosen) if candidates[index]]:
        for index in clashes:
            chosen[index] = candidates[index].pop(0)
    taken: set[str] = set()
    for index, name in enumerate(chosen):
        count = 1
        while str(chosen[index]).casefold() in taken:
            count += 1
            chosen[index] = name.with_name(f"{name.name}-{count}")
        taken.add(str(chosen[index]).casefold())
    return chosen


def _taken_twice(names: list[PurePosixPath]) -> list[int]:
    folded = [str(name).casefold() for name in names]
    counts = Counter(folded)
    return [index for index, name in enumerate(folded) if counts[name] > 1]
