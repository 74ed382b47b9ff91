"""The table of a data set's clips, and its file."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import ConfigError

__all__ = ["Clip", "Label", "Table", "named"]

Label: TypeAlias = str | int | float | bool | None
"""A label of a clip; None where it is unknown."""

_BEFORE, _AFTER = ("path", "id", "start_s", "end_s"), ("split", "group", "source")
_TAKEN = {*_BEFORE, *_AFTER, "track", "start", "end", "file", "video"}
_UNSAFE = re.compile(r"(?:^|/)\.{0,2}(?:/|$)|[\x00-\x1f\x7f\\]")  # as in a dump: absolute, "..", or an empty name
_MAX_NAME = 200  # bytes of a part of an id, which becomes a file name
_NAMED = 3


@dataclass(frozen=True, slots=True)  # there may be a million
class Clip:
    """A video with its labels, or a part of one.

    Attributes:
        path: the file, or the folder of frames.
        id: its name in the dump, unique in the table ignoring case.
        start_s: start of the part, in seconds; None is the start of the video.
        end_s: end of the part, in seconds; None is the end of the video.
        labels: by name.
        split: "train", "val", "test", or what the data set calls its part; empty if it is in none.
        group: what must not straddle splits, such as the person; empty if that is unknown.
    """

    path: Path
    id: str
    start_s: float | None = None
    end_s: float | None = None
    labels: Mapping[str, Label] = field(default_factory=dict)
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class Table:
    """The clips of a data set.

    Attributes:
        source: name of the data set.
        clips: those whose files are there.
        split_by: who made the splits: "official", "fold 1 of 5", "seed 0", or "nobody".
        absent: clips that the data set lists, without a file.
        unlisted: other files of videos, to which no list, folder or name gives a label.
        dropped: other clips that are left out, by reason.
        notes: what else there is to know, a sentence each.
    Raises:
        ConfigError: no clips; an id that is invalid or not unique; or a label with the name of another column.
    """

    source: str
    clips: Sequence[Clip]
    split_by: str
    absent: Sequence[str] = ()
    unlisted: Sequence[str] = ()
    dropped: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the clips."""
        if not self.clips:
            raise ConfigError(f"{self.source}: no clip is left for the table. {' '.join(self.left_out()).strip()}")
        seen: dict[str, Clip] = {}
        for clip in self.clips:
            _check_id(clip)
            other = seen.setdefault(clip.id.casefold(), clip)
            if other is not clip:
                raise ConfigError(
                    f"{self.source}: the id {clip.id!r} is that of both {other.path} and {clip.path}; ids are unique, "
                    "ignoring case: rename or remove one"
                )
        taken = sorted(_TAKEN.intersection(self.labels))
        if taken:
            raise ConfigError(f"{self.source}: labels named {taken}, which are other columns of the table")

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels, in their order."""
        return tuple(dict.fromkeys(name for clip in self.clips for name in clip.labels))

    @property
    def splits(self) -> Mapping[str, int]:
        """Number of clips by split."""
        counts = Counter(clip.split for clip in self.clips)
        order = [name for name in ("train", "val", "test") if name in counts]
        return {name: counts[name] for name in (*order, *sorted(set(counts) - set(order)))}

    def left_out(self) -> Iterator[str]:
        """What is not in the table, a sentence for each reason, which counts it and names the first."""
        if self.absent:
            yield f"{named(self.absent, 'listed clip')} absent: no such file in this folder."
        if self.unlisted:
            yield f"{named(self.unlisted, 'video')} left out: no list, folder or name gives a label."
        for reason, names in self.dropped.items():
            yield f"{named(names, 'clip')} left out: {reason}."

    def write(self, file: Path) -> None:
        """Write it as CSV for `marlin-extract --table`, whole or not at all.

        A path below the folder of the file is written relative to it, another one absolute; bool as true and false;
        numbers so that they are read back exactly; what is unknown as an empty cell.

        Args:
            file: an existing one is replaced.
        Raises:
            ConfigError: the name of a clip's file, or a label, is not valid text.
            OSError: it cannot be written.
        """
        base, labels = os.path.abspath(file.parent), self.labels  # noqa: PTH100 - links stay as they are
        try:
            with atomic_path(file) as part, part.open("w", encoding="utf-8", newline="") as target:
                writer = csv.writer(target, lineterminator="\n")
                writer.writerow((*_BEFORE, *labels, *_AFTER))
                for clip in self.clips:
                    cells = (_place(clip.path, base), clip.id, clip.start_s, clip.end_s)
                    values = (clip.labels.get(name) for name in labels)
                    ends = (clip.split, clip.group, self.source)
                    writer.writerow(map(_cell, (*cells, *values, *ends)))
        except UnicodeEncodeError as error:
            raise ConfigError(f"a name or label is not valid text: {error.object!r:.200}; correct it") from error


def named(names: Sequence[str], what: str) -> str:
    """A count of things with the first few names: "12 clips (a, b, c, ...) are"."""
    shown = ", ".join([*names[:_NAMED], *(["..."] if len(names) > _NAMED else [])])
    return f"{len(names):,} {what}{'s' * (len(names) != 1)} ({shown}) {'is' if len(names) == 1 else 'are'}"


def _check_id(clip: Clip) -> None:
    if _UNSAFE.search(clip.id) or any(len(os.fsencode(part)) > _MAX_NAME for part in clip.id.split("/")):
        raise ConfigError(
            f"{clip.path}: {clip.id!r} cannot be an id, which names files: a relative path without '..', backslashes "
            f"and control characters, of at most {_MAX_NAME} bytes a name; rename the file"
        )


def _place(path: Path, base: str) -> str:
    where = os.path.abspath(path)  # noqa: PTH100
    inside = base.rstrip(os.sep) + os.sep
    return where.removeprefix(inside)


def _cell(value: Label) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)
