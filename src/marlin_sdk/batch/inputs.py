"""What a person names on the command line -> the videos meant, each with a name of its own in the dump."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath

from marlin_sdk.errors import ConfigError
from marlin_sdk.video.reader import VIDEO_SUFFIXES, display_name

__all__ = ["VideoInput", "check_id", "deduplicate", "distinct_ids", "find_videos", "name_below"]

_WILD = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True)
class VideoInput:
    """One video to embed, or a part of one.

    Attributes:
        id: its name in the dump, the same in every run: its path below the folder that was named, without suffix; or
            the table's id. The output is called so too; it is never absolute and never leads upwards.
        source: its path or URL; a folder stands for a folder of frames.
        start_s: where the part begins, in seconds; None is the start.
        end_s: where it ends; None is the end.
        track: the only face track to embed; None leaves that to `faces`.
        labels: columns of the table that are carried through.
    """

    id: str
    source: str
    start_s: float | None = None
    end_s: float | None = None
    track: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """What makes it the same piece of video as another."""
        return place(self.source), self.start_s, self.end_s, self.track


def find_videos(
    names: Iterable[str], *, base: Path | None = None, known: Mapping[str, str] | None = None
) -> list[VideoInput]:
    """Expand files, folders, glob patterns and URLs.

    A file or URL stands for itself; a folder for all videos below it (hidden ones left out), or, if it holds none, for
    a folder of frames; a pattern ("clips/**/*.mp4") for what matches it. A path that is not there is kept, to fail by
    name later. A path named twice counts once; links to files are files of their own.

    Args:
        names: paths, patterns and URLs.
        base: call the videos by their paths below this folder, as a list that lies there does.
        known: ids that an earlier run gave, by source: they are kept, whatever else is named now.
    Returns:
        The videos in the order they were named, folders sorted. Their ids differ, also where upper and lower case are
        the same: a video is called by its path below the folder or the fixed part of the pattern, without suffix; those
        for which that is not unique by their suffix too, else by as much of their path as it takes.
    Raises:
        ConfigError: a name that is empty, or a pattern that matches nothing.
    """
    found: dict[str, tuple[str, PurePosixPath]] = {}
    for name in names:
        if not name.strip():
            raise ConfigError("an INPUT is empty; expected a video file, a URL, a pattern or a folder")
        for source, below in _expand(name):
            where = place(source)
            if where not in found:
                found[where] = source, (name_below(base, source) or below if base else below)
    ids = distinct_ids(list(found.values()), known or {})
    return [VideoInput(id, source) for id, (source, _) in zip(ids, found.values(), strict=True)]


def deduplicate(videos: Iterable[VideoInput]) -> list[VideoInput]:
    """Leave out what is the same piece of video as an earlier one; refuse one id for two pieces.

    Raises:
        ConfigError: an id stands for two videos.
    """
    first: dict[tuple[object, ...], VideoInput] = {}
    for video in videos:
        first.setdefault(video.key, video)
    by_id: dict[str, VideoInput] = {}
    for video in first.values():
        other = by_id.setdefault(video.id.casefold(), video)
        if other is not video:
            raise ConfigError(
                f"the id {video.id!r} stands for both {display_name(other.source)} and {display_name(video.source)}; "
                "ids must differ, and not only in upper and lower case"
            )
    return list(by_id.values())


def check_id(text: str) -> str:
    """An id that can be the name of an output: relative, staying below the output folder.

    Raises:
        ConfigError: it is empty, absolute, leads upwards, or holds control characters.
    """
    parts = text.split("/")
    if not text or any(part in ("", ".", "..") for part in parts) or _WILD.search(text):
        raise ConfigError(f"{text!r} cannot be an id: expected a relative path like 'speaker1/clip7', without '..'")
    if any(len(os.fsencode(part)) > 200 for part in parts):
        raise ConfigError(f"the id {text[:40]!r}... is too long for a file name; give the table a shorter id column")
    return text


def _is_url(text: str) -> bool:
    return "://" in text


def _is_folder(text: str) -> bool:
    return not _is_url(text) and os.path.isdir(text)  # Path.is_dir() raises for a name that is too long


def _expand(name: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Each video that a name stands for, with its path below what was named."""
    if not _is_url(name) and glob.has_magic(name) and not os.path.lexists(name):
        yield from _match(name)
        return
    files = list(_videos_below(name)) if _is_folder(name) else []
    for file in files:
        yield file, PurePosixPath(file[len(name) :].replace(os.sep, "/").lstrip("/"))
    if not files:
        yield (
            name,
            PurePosixPath(_whole(name).name if _is_url(name) else os.path.basename(os.path.abspath(name)) or "video"),
        )


def _match(pattern: str) -> Iterator[tuple[str, PurePosixPath]]:
    parts = Path(pattern).parts
    root = Path(*parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])
    matched = sorted(file for file in glob.iglob(pattern, recursive=True) if not os.path.isdir(file))
    if not matched:
        raise ConfigError(f"the pattern {pattern!r} matches no file")
    for file in matched:
        yield file, PurePosixPath(os.path.relpath(file, root).replace(os.sep, "/"))


def _videos_below(folder: str) -> Iterator[str]:
    """Sorted; hidden are the "._talk.mp4" that macOS lays beside talk.mp4; a linked folder is entered once."""
    entered = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith("."):
                yield os.path.join(where, name)


@lru_cache(maxsize=1 << 16)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def place(source: str) -> str:
    """The same for two spellings of one path."""
    if _is_url(source):
        return source
    folder, name = os.path.split(source)
    if not os.path.isabs(folder) or name in ("", ".", ".."):
        folder, name = os.path.split(os.path.abspath(source))
    return os.path.join(_real_folder(folder), name)


def name_below(base: Path, source: str) -> PurePosixPath | None:
    """A file's path below a folder; None where it lies elsewhere."""
    if _is_url(source):
        return None
    path = PurePosixPath(os.path.relpath(place(source), _real_folder(os.path.abspath(base))).replace(os.sep, "/"))
    return None if ".." in path.parts else path


def _whole(source: str) -> PurePosixPath:
    """A source's full path as a relative one in which nothing leads upwards; of a URL, host and path."""
    if not _is_url(source):
        parts = list(Path(os.path.abspath(source)).parts[1:])
    else:
        address = re.split(r"[?#]", source.split("://", 1)[1])[0]
        host, _, path = address.partition("/")
        parts = [re.sub(r"[^\w.-]+", "_", part).strip(".") for part in (host.rpartition("@")[2], *path.split("/"))]
    return PurePosixPath(*(list(filter(None, parts)) or ["video"]))


def distinct_ids(found: Sequence[tuple[str, PurePosixPath]], known: Mapping[str, str]) -> list[str]:
    """For each video the first of its names that no other has.

    Args:
        found: sources, and what each would be called, with its suffix.
        known: ids given earlier, by source: they are kept, and nothing else is called so.
    """
    told = [place(display_name(source)) for source, _ in found]  # as a manifest tells of it
    counts = Counter(told)
    kept = {where: id for source, id in known.items() if counts[where := place(source)] == 1}
    longer = _LongNames([source for source, _ in found])
    fixed = [where in kept for where in told]
    more = [iter(()) if fixed[index] else _names(index, *found[index], longer) for index in range(len(found))]
    chosen = [kept[told[index]] if fixed[index] else next(more[index]) for index in range(len(found))]
    taken = Counter(id.casefold() for id in known.values())
    is_moving = True
    while is_moving:
        is_moving = False
        for index in _clashing(chosen, taken, fixed):
            if (name := next(more[index], None)) is not None:
                chosen[index], is_moving = name, True
    return _numbered(chosen, taken, fixed)


class _LongNames:
    """Each source by as much of its path as the others do not share; found out only where shorter names clash."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = sources

    @cached_property
    def _all(self) -> list[PurePosixPath]:
        wholes = [_whole(source) for source in self._sources]
        shared = len(PurePosixPath(os.path.commonpath([whole.parent for whole in wholes])).parts)
        return [PurePosixPath(*whole.parts[shared:]) for whole in wholes]

    def __getitem__(self, index: int) -> PurePosixPath:
        return self._all[index]


def _names(index: int, source: str, below: PurePosixPath, longer: _LongNames) -> Iterator[str]:
    """What a video may be called, the best first: a file may bear names that no id can have."""
    return map(_tame, _file_names(index, source, below, longer))


def _tame(name: str) -> str:
    """A name with what `check_id` refuses written as in a URL: `%0A` for a line break, `%5C` for a backslash."""
    plain = _WILD.sub(lambda match: f"%{ord(match[0]):02X}", name)
    return "/".join(part.replace(".", "%2E") if part in (".", "..") else part for part in plain.split("/"))


def _file_names(index: int, source: str, below: PurePosixPath, longer: _LongNames) -> Iterator[str]:
    if _is_folder(source):  # what looks like the suffix of a folder is none
        yield str(below)
        yield str(longer[index])
        return
    yield str(below.with_suffix(""))
    yield str(below)
    yield str(longer[index].with_suffix(""))
    yield str(longer[index])


def _clashing(chosen: list[str], taken: Counter[str], fixed: list[bool]) -> list[int]:
    counts = Counter(name.casefold() for name in chosen)
    return [
        index
        for index, name in enumerate(chosen)
        if not fixed[index] and (counts[name.casefold()] > 1 or taken[name.casefold()])
    ]


def _numbered(chosen: list[str], taken: Counter[str], fixed: list[bool]) -> list[str]:
    """A number behind what still clashes."""
    used = set(taken) | {name.casefold() for name, is_fixed in zip(chosen, fixed, strict=True) if is_fixed}
    for index, name in enumerate(chosen):
        count = 1
        while not fixed[index] and chosen[index].casefold() in used:
            count += 1
            chosen[index] = f"{name}-{count}"
        used.add(chosen[index].casefold())
    return chosen
