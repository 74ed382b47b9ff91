"""Expand the inputs of a command to videos, each with a unique id in the dump."""

from __future__ import annotations

import glob
import os
import re
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Generic, TypeVar, overload

from marlin_sdk.errors import ConfigError
from marlin_sdk.labels import Label
from marlin_sdk.video.folders import videos_below
from marlin_sdk.video.reader import display_name

__all__ = ["VideoInput", "check_id", "deduplicate", "distinct_ids", "find_videos", "name_below", "select"]

_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_NO_LABELS: Mapping[str, Label | None] = {}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)  # there may be a million
class VideoInput:
    """One video to embed, or a part of one.

    Attributes:
        id: its name in the dump, the same in every run: its path below the given folder, without suffix, or the id of
            the table. Outputs are named after it; it is never absolute and never contains '..'.
        source: its path or URL; a folder is a folder of frames.
        start_s: start of the part, in seconds; None is the start of the video.
        end_s: end of the part, in seconds; None is the end of the video.
        track: the only face track to embed; None lets `faces` decide.
        labels: extra columns of the table, passed through to the dump; None where the cell is empty.
    """

    id: str
    source: str
    start_s: float | None = None
    end_s: float | None = None
    track: int | None = None
    labels: Mapping[str, Label | None] = field(default_factory=lambda: _NO_LABELS)

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for two inputs that are the same part of the same video."""
        return canonical_source(self.source), self.start_s, self.end_s, self.track


class Lazy(Sequence[T], Generic[T]):
    """A sequence whose items are made when they are asked for: a million videos as objects take 250 MB.

    Args:
        make: makes an item from its row.
        rows: rows of the items.
    """

    def __init__(self, make: Callable[[int], T], rows: Sequence[int]) -> None:
        self._make, self._rows = make, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Lazy[T]: ...
    def __getitem__(self, index: int | slice) -> T | Lazy[T]:
        return Lazy(self._make, self._rows[index]) if isinstance(index, slice) else self._make(self._rows[index])


class Texts:
    """Texts one after the other in one block of memory."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes, self._ends = bytearray(), array("Q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        self._bytes += text.encode(errors="surrogatepass")  # file names may not be valid text
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: int) -> str:
        return self._bytes[self._ends[row] : self._ends[row + 1]].decode(errors="surrogatepass")


def select(videos: Sequence[VideoInput], keep: Callable[[VideoInput], bool]) -> Sequence[VideoInput]:
    """The videos to keep, decided now; `videos` must not change afterwards."""
    return Lazy(videos.__getitem__, array("Q", (row for row, video in enumerate(videos) if keep(video))))


def find_videos(
    names: Iterable[str], *, base: Path | None = None, known: Mapping[str, str] | None = None
) -> Sequence[VideoInput]:
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
    seen: set[bytes] = set()  # digests: a million paths would take more memory than the videos
    places, below_names = Texts(), Texts()
    for name in names:
        if not name.strip():
            raise ConfigError("an INPUT is empty; expected a video file, a URL, a pattern or a folder")
        for source, below in _expand(name):
            where = canonical_source(source)
            digest = blake2b(os.fsencode(where), digest_size=12).digest()
            if digest not in seen:
                seen.add(digest)
                places.append(source)
                below_names.append((_below(base, where) if base else None) or below)
    del seen
    rows = range(len(places))
    ids = Texts(distinct_ids(Lazy(places.__getitem__, rows), below_names.__getitem__, known or {}))
    return Lazy(lambda row: VideoInput(ids[row], places[row]), rows)


def deduplicate(videos: Iterable[VideoInput]) -> list[VideoInput]:
    """Drop inputs that are the same part of the same video as an earlier one.

    Raises:
        ConfigError: two different inputs have the same id.
    """
    first: dict[int, VideoInput] = {}  # by hash: a million keys would take more memory than the videos
    by_id: dict[str, VideoInput] = {}
    for video in videos:
        same = first.setdefault(hash(video.key), video)
        if same is not video and same.key == video.key:
            continue
        other = by_id.setdefault(_fold(video.id), video)
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


def _expand(name: str) -> Iterator[tuple[str, str]]:
    """Each video that a name expands to, with its path relative to the name."""
    if not _is_url(name) and glob.has_magic(name) and not os.path.lexists(name):
        yield from _match(name)
        return
    files = list(videos_below(name)) if _is_folder(name) else []
    for file in files:
        yield file, file[len(name) :].replace(os.sep, "/").lstrip("/")
    if not files:
        last = os.path.basename(name)
        if _is_url(name):
            last = _full_path(name).name
        elif last in ("", ".", ".."):
            last = os.path.basename(os.path.abspath(name))
        yield name, last or "video"


def _match(pattern: str) -> Iterator[tuple[str, str]]:
    parts = Path(pattern).parts
    root = Path(*parts[: next(index for index, part in enumerate(parts) if glob.has_magic(part))])
    matched = sorted(file for file in glob.iglob(pattern, recursive=True) if not os.path.isdir(file))
    if not matched:
        raise ConfigError(f"the pattern {pattern!r} matches no file")
    for file in matched:
        yield file, os.path.relpath(file, root).replace(os.sep, "/")


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


def name_below(base: Path, source: str) -> str | None:
    """A file's path relative to a folder; None if it is outside."""
    return _below(base, canonical_source(source))


def _below(base: Path, where: str) -> str | None:
    if _is_url(where):
        return None
    folder = _real_folder(os.path.abspath(base))
    if where == folder:
        return "."
    inside = folder.rstrip(os.sep) + os.sep
    return where[len(inside) :].replace(os.sep, "/") if where.startswith(inside) else None


def _full_path(source: str) -> PurePosixPath:
    """A source's full path as a relative path without '..'; for a URL, host and path."""
    if not _is_url(source):
        parts = list(Path(os.path.abspath(source)).parts[1:])
    else:
        address = re.split(r"[?#]", source.split("://", 1)[1])[0]
        host, _, path = address.partition("/")
        parts = [re.sub(r"[^\w.-]+", "_", part).strip(".") for part in (host.rpartition("@")[2], *path.split("/"))]
    return PurePosixPath(*(list(filter(None, parts)) or ["video"]))


def distinct_ids(sources: Sequence[str], name_of: Callable[[int], str], known: Mapping[str, str]) -> list[str]:
    """For each video, the first of its candidate ids that no other video has.

    Args:
        sources: paths and URLs.
        name_of: preferred name of each by its index, including the suffix.
        known: ids assigned earlier, by source; they are reused, and given to no other source.
    """
    fixed = _reused(sources, known) if known else {}
    longer = _LongNames(sources)
    taken = Counter(map(_fold, known.values()))
    chosen = [
        fixed.get(index) or _candidates(index, source, name_of(index), longer)[0]()
        for index, source in enumerate(sources)
    ]
    ranks: Counter[int] = Counter()
    changed = True
    while changed:
        changed = False
        for index in _clashing(chosen, taken, fixed):
            ranks[index] += 1
            candidates = _candidates(index, sources[index], name_of(index), longer)
            if ranks[index] < len(candidates):
                chosen[index], changed = candidates[ranks[index]](), True
    return _numbered(chosen, taken, fixed)


def _reused(sources: Sequence[str], known: Mapping[str, str]) -> dict[int, str]:
    """The id that an earlier run assigned to a source, by index; not if several sources are recorded under one name."""
    recorded = [canonical_source(display_name(source)) for source in sources]  # as in the manifest
    counts = Counter(recorded)
    ids = {where: id for source, id in known.items() if counts[where := canonical_source(source)] == 1}
    return {index: ids[where] for index, where in enumerate(recorded) if where in ids}


def _fold(id: str) -> str:
    """An id without case: the same object where it has none, so that a million take no memory."""
    folded = id.casefold()
    return id if folded == id else folded


class _LongNames:
    """Each source's path without the part that all share; computed only if shorter names clash."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._sources = sources

    @cached_property
    def _all(self) -> list[str]:
        paths = [_full_path(source) for source in self._sources]
        shared = len(PurePosixPath(os.path.commonpath([path.parent for path in paths])).parts)
        return ["/".join(path.parts[shared:]) for path in paths]

    def __getitem__(self, index: int) -> str:
        return self._all[index]


def _candidates(index: int, source: str, name: str, longer: _LongNames) -> list[Callable[[], str]]:
    """Candidate ids of a video, best first; characters that an id cannot contain are escaped."""
    if _is_folder(source):  # a folder has no suffix
        return [lambda: _escape(name), lambda: _escape(longer[index])]
    return [
        lambda: _escape(_without_suffix(name)),
        lambda: _escape(name),
        lambda: _escape(_without_suffix(longer[index])),
        lambda: _escape(longer[index]),
    ]


def _without_suffix(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    stem, dot, suffix = last.rpartition(".")
    return folder + slash + (stem if dot and stem and suffix else last)


def _escape(name: str) -> str:
    """Percent-encode what `check_id` rejects: `%0A` for a line break, `%5C` for a backslash."""
    plain = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", name)
    return "/".join(part.replace(".", "%2E") if part in (".", "..") else part for part in plain.split("/"))


def _clashing(chosen: list[str], taken: Counter[str], fixed: Mapping[int, str]) -> list[int]:
    counts = Counter(map(_fold, chosen))
    return [
        index
        for index, name in enumerate(chosen)
        if index not in fixed and (counts[_fold(name)] > 1 or taken[_fold(name)])
    ]


def _numbered(chosen: list[str], taken: Counter[str], fixed: Mapping[int, str]) -> list[str]:
    """Append a number to names that still clash."""
    used = set(taken) | {_fold(chosen[index]) for index in fixed}
    for index, name in enumerate(chosen):
        count = 1
        while index not in fixed and _fold(chosen[index]) in used:
            count += 1
            chosen[index] = f"{name}-{count}"
        used.add(_fold(chosen[index]))
    return chosen
