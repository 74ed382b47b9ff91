"""The manifest of a dump: the outcome of each video, one line per video, appended as it finishes."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from types import TracebackType
from typing import Any, Literal, get_args

from marlin_sdk.errors import FeatureFileError
from marlin_sdk.features.labels import Label, is_label

__all__ = ["MANIFEST", "Manifest", "ManifestEntry", "Status", "ids_by_source", "manifests", "read_manifest"]

MANIFEST = "manifest*.jsonl"
"""Pattern of the manifests of a dump: one, or one per `--shard`; those of a parquet dump begin with "_"."""

Status = Literal["ok", "partial", "no_face", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestEntry:
    """The outcome of a video.

    Attributes:
        id: id of the video in the dump.
        source: its path, or its URL without parts that may be secret.
        status: "ok"; "partial" if the video is damaged or some of its windows show no face; "no_face" if none does;
            "failed"; "skipped" if there was nothing to embed (shorter than a window, with `tail="drop"`).
        rows: windows embedded.
        skipped_windows: windows left out because they show no face.
        duration_s: duration of the part of the video that was read; None if unknown.
        seconds: time spent on it, from its start to its last row.
        error: class of the error of a failed video.
        message: message of the error, or of the first warning.
        file: file that holds its rows, relative to the dump; None if there are none.
        settings_hash: hash of its settings (`settings.json`).
        weights: identity of the weights: a Hub commit, a sha256, or "untrained:SEED".
        labels: columns passed through from the table of inputs; those that are empty for the video are left out.
        start_s: start of the requested part; None is the start of the video.
        end_s: end of the requested part; None is the end of the video.
        track: the only face track that was requested; None lets `faces` decide.
        finished_at: Unix time at which it finished.
        labelled_at: Unix time at which its labels changed, if they did after it had finished.
    """

    id: str
    source: str
    status: Status
    rows: int = 0
    skipped_windows: int = 0
    duration_s: float | None = None
    seconds: float = 0.0
    error: str | None = None
    message: str | None = None
    file: str | None = None
    settings_hash: str = ""
    weights: str = ""
    labels: dict[str, Label] | None = None
    start_s: float | None = None
    end_s: float | None = None
    track: int | None = None
    finished_at: float = 0.0
    labelled_at: float | None = None

    @property
    def part(self) -> tuple[float | None, float | None, int | None]:
        """The requested part of the video: start, end and track."""
        return self.start_s, self.end_s, self.track

    @property
    def is_final(self) -> bool:
        """Whether a rerun has nothing left to do for the video."""
        return self.status != "failed"

    def to_json(self) -> str:
        """One line, without the line break."""
        return json.dumps({key: value for key, value in asdict(self).items() if value is not None})


_NUMBER = (int, float)
_NONE = type(None)
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "source", "status", "settings_hash", "weights"), (str,)),
    **dict.fromkeys(("rows", "skipped_windows"), (int,)),
    **dict.fromkeys(("seconds", "finished_at"), _NUMBER),
    **dict.fromkeys(("error", "message", "file"), (str, _NONE)),
    **dict.fromkeys(("duration_s", "start_s", "end_s", "track", "labelled_at"), (*_NUMBER, _NONE)),
    "labels": (dict, _NONE),
}
_STATUSES = frozenset(get_args(Status))


class Manifest:
    """Appends entries and flushes them to disk at once, so that a killed run loses none that it has recorded.

    Args:
        path: the file; created with its folder if missing. An incomplete last line, left by a killed run, is removed.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file = path.open("a+b", buffering=0)  # a buffer would keep what a full disk has refused
        self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        size = self._file.seek(0, os.SEEK_END)
        end = size
        while end:
            start = max(0, end - 4096)
            self._file.seek(start)
            found = self._file.read(end - start).rfind(b"\n")
            if found >= 0:
                end = start + found + 1
                break
            end = start
        if end != size:
            self._file.truncate(end)

    def append(self, entries: Iterable[ManifestEntry]) -> None:
        """Append lines, and wait until they are on disk.

        Raises:
            OSError: the disk is full; none of these lines is kept.
        """
        entries = list(entries)
        if not entries:
            return
        lines = memoryview("".join(f"{entry.to_json()}\n" for entry in entries).encode())
        before = self._file.seek(0, os.SEEK_END)
        try:
            while lines:
                lines = lines[self._file.write(lines) :]
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(before)
            raise

    def __enter__(self) -> Manifest:
        """Return this manifest."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._file.close()


_MAX = 2.0**53  # of any number in an entry; NaN and infinity are refused too


def manifests(folder: Path) -> list[Path]:
    """The manifests of a dump, in the order of their names."""
    return [*sorted(folder.glob(MANIFEST)), *sorted(folder.glob(f"_{MANIFEST}"))]


def read_manifest(folder: Path) -> dict[str, ManifestEntry]:
    """The newest entry of each video in a dump, from all of its manifests; empty if there are none.

    Raises:
        FeatureFileError: a complete line is not a manifest entry.
    """
    newest: dict[str, ManifestEntry] = {}
    for path in manifests(folder):
        try:
            facts = path.stat()
        except OSError as error:  # a link that leads nowhere, or in a circle
            raise FeatureFileError(f"{path} cannot be read: {error.strerror}") from error
        if not S_ISREG(facts.st_mode):
            raise FeatureFileError(f"{path} is a folder, pipe or device; expected a file")
        for id, entry in _entries_by_id(path, facts.st_size, facts.st_mtime_ns).items():
            known = newest.get(id)
            if known is None or _age(known) <= _age(entry):
                newest[id] = entry  # a finished video is finished, whatever the clocks of several machines say
    return newest


def _age(entry: ManifestEntry) -> tuple[bool, float, float]:
    return entry.is_final, entry.finished_at, entry.labelled_at or 0.0


def ids_by_source(entries: Mapping[str, ManifestEntry]) -> dict[str, str]:
    """Ids of whole videos by source, for sources that occur only once; see `find_videos`."""
    whole = [(entry.source, id) for id, entry in entries.items() if entry.part == (None, None, None)]
    counts = Counter(source for source, _ in whole)
    return {source: id for source, id in whole if counts[source] == 1}


@lru_cache(maxsize=1)  # a command reads it twice: to assign ids, and again once it holds the lock
def _entries_by_id(path: Path, size: int, changed_ns: int) -> dict[str, ManifestEntry]:
    """Within one file the last line of a video is the newest, whatever its time."""
    return {entry.id: entry for entry in _entries(path)}


def _entries(path: Path) -> Iterator[ManifestEntry]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return  # a run is writing it, or was killed while writing it
            try:
                yield _checked(json.loads(line))
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                raise FeatureFileError(
                    f"{path}, line {number}, is not a manifest entry: {error}; fix or remove the line"
                ) from error


def _checked(values: dict[str, Any]) -> ManifestEntry:
    known: dict[str, Any] = {}
    for key, value in values.items():
        if (types := _TYPES.get(key)) is not None:
            if not isinstance(value, types) or (isinstance(value, int | float) and not -_MAX <= value <= _MAX):
                raise ValueError(f"{key} is {str(value)[:40]!r}")
            known[key] = value
    entry = ManifestEntry(**known)
    if entry.status not in _STATUSES:
        raise ValueError(f"status is {entry.status!r:.40}")
    for name, label in (entry.labels or {}).items():
        if not is_label(label):
            raise ValueError(f"the label {name!r:.40} is {label!r:.40}; expected text, a finite number, true or false")
    return entry
