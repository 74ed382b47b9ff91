"""What a person names on the command line -> the videos meant, each with a name for its output."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

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

    A file or URL stands for itself, a folder for all videos below it, or, if it holds none, for a folder of frames. A
    path that is not there is kept, to fail by name later. The same file named twice counts once.

    Args:
        inputs: paths and URLs.
    Returns:
        The videos in the order they were named, folders sorted. Their names differ: a video is named by its path below
        the folder, without suffix; where that is not unique by as much of its path, and then its suffix, as it takes.
    """
    found: dict[str, tuple[str, PurePosixPath]] = {}
    for text in inputs:
        for source, name in _expand(text):
            key = source if "://" in source else os.path.realpath(source)
            found.setdefault(key, (source, name))
    names = _unique([name for _, name in found.values()], list(found))
    return [VideoInput(source, name) for (source, _), name in zip(found.values(), names, strict=True)]


def _expand(text: str) -> Iterator[tuple[str, PurePosixPath]]:
    if "://" in text:
        last = PurePosixPath(urlsplit(text).path).name or urlsplit(text).netloc
        yield text, PurePosixPath(re.sub(r"[^\w.-]+", "_", last).strip(".") or "video")
        return
    path = Path(text)
    videos = sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file())
    if path.is_dir() and videos:
        for file in videos:
            yield str(file), PurePosixPath(file.relative_to(path).as_posix())
    else:
        yield text, PurePosixPath(path.name or path.resolve().name or "video")


def _unique(names: list[PurePosixPath], keys: list[str]) -> list[PurePosixPath]:
    """The shortest names that differ: without suffix, else with more of the path, else with suffix too."""
    bare = [name.with_suffix("") for name in names]
    if _differ(bare):
        return bare
    if _differ(names):
        taken = Counter(bare)
        return [name if taken[short] > 1 else short for name, short in zip(names, bare, strict=True)]
    paths = [PurePosixPath(Path(re.sub(r"^\w+://", "/", key)).as_posix().lstrip("/")) for key in keys]
    root = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(root) for path in paths]


def _differ(names: list[PurePosixPath]) -> bool:
    return len(set(names)) == len(names)
