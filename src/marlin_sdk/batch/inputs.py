"""Expand the inputs of a command to videos, each with a unique id in the dump."""

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
from marlin_sdk.video.folders import videos_below
from marlin_sdk.video.reader import display_name

__all__ = ["VideoInput", "check_id", "deduplicate", "distinct_ids", "find_videos", "name_below"]

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")


@dataclass(frozen=True)
class VideoInput:
    """One video to embed, or a part of one.

    Attributes:
        id: its name in the dump, the same in every run: its path below the given folder, without suffix, or the id of
            the table. Outputs are named after it; it is never absolute and never contains '..'.
        source: its path or URL; a folder is a folder of frames.
        start_s: start of the part, in seconds; None is the start of the video.
        end_s: end of the part, in seconds; None is the end of the video.
        track: the only face track to embed; None lets `faces` decide.
        labels: extra columns of the table, passed through to the dump.
    """

    id: str
    source: str
    start_s: float | None = None
    end_s: float | None = None
    track: int | None = None
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two inputs that are the same part of the same video."""
        return canonical_source(self.source), self.start_s, self.end_s, self.track


def find_videos(
    names: Iterable[str], *, base: Path | None = None, known: Mapping[str, str] | None = None
) -> list[VideoInput]:
    """Expand files, folders, glob patterns and URLs.

    A folder expands to all videos below it except hidden ones; if it contains none, it is a folder of frames. A pattern
    ("clips/**/*.mp4") expands to its matches. A missing path is kept, so that it is reported as failed later. Duplicate
    paths are dropped; a link to a file counts as a separate file.

    Args:
        names: paths, patterns and URLs.
        base: folder that ids are relative to, for a list or table in that folder.
        known: ids that an earlier run assigned, by source; they are reused.
    Returns:
        The videos in the order given, folders sorted. Ids are unique, ignoring case: the path below the folder or the
        fixed part of the pattern, without suffix; where that is not unique, with suffix, or with as much of the full
        path as needed.
    Raises:
        ConfigError: an empty name, or a pattern without a match.
    """
    found: dict[str, tuple[str, PurePosixPath]] = {}
    for name in names:
        if not name.strip():
            raise ConfigError("an INPUT is empty; expected a video file, a URL, a pattern or a folder")
        for source, below in _expand(name):
            where = canonical_source(source)
            if where not in found:
                found[where] = source, (name_below(base, source) or below if base else below)
    ids = distinct_ids(list(found.values()), known or {})
    return [VideoInput(id, source) for id, (source, _) in zip(ids, found.values(), strict=True)]


def deduplicate(videos: Iterable[VideoInput]) -> list[VideoInput]:
    """Drop inputs that are the same part of the same video as an earlier one.

    Raises:
        ConfigError: two different inputs have the same id.
    """
    first: dict[tuple[object, ...], VideoInput] = {}
    for video in videos:
        first.setdefault(video.key, video)
    by_id: dict[str, VideoInput] = {}
    for video in first.values():
        other = by_id.setdefault(video.id.casefold(), video)
        if other is not video:
            raise ConfigError(
                f"the id {video.id!r} is used for both {display_name(other.source)} and {display_name(video.source)}; "
                "ids must be unique, ignoring case"
            )
    return list(by_id.values())


def check_id(text: str) -> str:
    """Return an id if it is a valid output path: relative, and inside the output folder.

    Raises:
        ConfigError: it is empty, absolute or too long, or contains '..' or control characters.
    """
    parts = text.split("/")
    if not text or any(part in ("", ".", "..") for part in parts) or _UNSAFE.search(text):
        raise ConfigError(f"{text!r} is not a valid id; expected a relative path like 'speaker1/clip7', without '..'")
    if any(len(os.fsencode(part)) > 200 for part in parts):
        raise ConfigError(f"the id {text[:40]!r}... is too long for a file name; give the table a shorter id column")
    return text


def _is_url(text: str) -> bool:
    return "://" in text


def _is_folder(text: str) -> bool:
    return not _is_url(text) and os.path.isdir(text)  # Path.is_dir() raises for a name that is too long


def _expand(name: str) -> Iterator[tuple[str, PurePosixPath]]:
    """Each video that a name expands to, with its path relative to the name."""
    if not _is_url(name) and glob.has_magic(name) and not os.path.lexists(name):
        yield from _match(name)
        return
    files = list(videos_below(name)) if _is_folder(name) else []
    for file in files:
        yield file, PurePosixPath(file[len(name) :].replace(os.sep, "/").lstrip("/"))
    if not files:
        yield (
            name,
            PurePosixPath(
                _full_path(name).name if _is_url(name) else os.path.basename(os.path.abspath(name)) or "video"
            ),
        )


def _match(pattern: str) -> Iterator[tuple[str, PurePosixPath]]:
    parts = Path(pattern).parts
    root = Path(*parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])
    matched = sorted(file for file in glob.iglob(pattern, recursive=True) if not os.path.isdir(file))
    if not matched:
        raise ConfigError(f"the pattern {pattern!r} matches no file")
    for file in matched:
        yield file, PurePosixPath(os.path.relpath(file, root).replace(os.sep, "/"))


@lru_cache(maxsize=1 << 16)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def canonical_source(source: str) -> str:
    """The same text for two spellings of one path."""
    if _is_url(source):
        return source
    folder, name = os.path.split(source)
    if not os.path.isabs(folder) or name in ("", ".", ".."):
        folder, name = os.path.split(os.path.abspath(source))
    return os.path.join(_real_folder(folder), name)


def name_below(base: Path, source: str) -> PurePosixPath | None:
    """A file's path relative to a folder; None if it is outside."""
    if _is_url(source):
        return None
    path = PurePosixPath(
        os.path.relpath(canonical_source(source), _real_folder(os.path.abspath(base))).replace(os.sep, "/")
    )
    return None if ".." in path.parts else path


def _full_path(source: str) -> PurePosixPath:
    """A source's full path as a relative path without '..'; for a URL, host and path."""
    if not _is_url(source):
        parts = list(Path(os.path.abspath(source)).parts[1:])
    else:
        address = re.split(r"[?#]", source.split("://", 1)[1])[0]
        host, _, path = address.partition("/")
        parts = [re.sub(r"[^\w.-]+", "_", part).strip(".") for part in (host.rpartition("@")[2], *path.split("/"))]
    return PurePosixPath(*(list(filter(None, parts)) or ["video"]))


def distinct_ids(found: Sequence[tuple[str, PurePosixPath]], known: Mapping[str, str]) -> list[str]:
    """For each video, the first of its candidate ids that no other video has.

    Args:
        found: sources, each with its preferred name, including the suffix.
        known: ids assigned earlier, by source; they are reused, and given to no other source.
    """
    recorded = [canonical_source(display_name(source)) for source, _ in found]  # as in the manifest
    counts = Counter(recorded)
    reused = {where: id for source, id in known.items() if counts[where := canonical_source(source)] == 1}
    longer = _LongNames([source for source, _ in found])
    fixed = [where in reused for where in recorded]
    candidates = [iter(()) if fixed[index] else _names(index, *found[index], longer) for index in range(len(found))]
    chosen = [reused[recorded[index]] if fixed[index] else next(candidates[index]) for index in range(len(found))]
    taken = Counter(id.casefold() for id in known.values())
    changed = True
    while changed:
        changed = False
        for index in _clashing(chosen, taken, fixed):
            if (name := next(candidates[index], None)) is not None:
                chosen[index], changed = name, True
    return _numbered(chosen, taken, fixed)


class _LongNames:
    """Each source's path without the part that all share; computed only if shorter names clash."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = sources

    @cached_property
    def _all(self) -> list[PurePosixPath]:
        paths = [_full_path(source) for source in self._sources]
        shared = len(PurePosixPath(os.path.commonpath([path.parent for path in paths])).parts)
        return [PurePosixPath(*path.parts[shared:]) for path in paths]

    def __getitem__(self, index: int) -> PurePosixPath:
        return self._all[index]


def _names(index: int, source: str, below: PurePosixPath, longer: _LongNames) -> Iterator[str]:
    """Candidate ids of a video, best first; characters that an id cannot contain are escaped."""
    return map(_escape, _file_names(index, source, below, longer))


def _escape(name: str) -> str:
    """Percent-encode what `check_id` rejects: `%0A` for a line break, `%5C` for a backslash."""
    plain = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", name)
    return "/".join(part.replace(".", "%2E") if part in (".", "..") else part for part in plain.split("/"))


def _file_names(index: int, source: str, below: PurePosixPath, longer: _LongNames) -> Iterator[str]:
    if _is_folder(source):  # a folder has no suffix
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
    """Append a number to names that still clash."""
    used = set(taken) | {name.casefold() for name, is_fixed in zip(chosen, fixed, strict=True) if is_fixed}
    for index, name in enumerate(chosen):
        count = 1
        while not fixed[index] and chosen[index].casefold() in used:
            count += 1
            chosen[index] = f"{name}-{count}"
        used.add(chosen[index].casefold())
    return chosen
