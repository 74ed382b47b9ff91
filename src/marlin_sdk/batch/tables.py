"""Lists and tables of videos: one line per video, or per part of one."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from marlin_sdk.batch.inputs import VideoInput, check_id, distinct_ids, name_below
from marlin_sdk.errors import ConfigError

__all__ = ["read_list", "read_table", "videos_of_rows"]

_RESERVED = ("path", "id", "start_s", "end_s", "track")
_MAX_CELL = 1 << 16
_LIKELY = {  # other names for a column, which would turn it into a label without a word
    "start_s": ("start", "begin", "begin_s", "start_sec", "start_time", "start_seconds", "starttime"),
    "end_s": ("end", "stop", "stop_s", "end_sec", "end_time", "end_seconds", "endtime"),
    "track": ("track_id",),
}


def read_list(file: TextIO, *, beside: Path | None = None) -> Iterator[str]:
    """Read a list of videos, line by line: paths, folders, patterns and URLs.

    Args:
        file: one input per line; empty lines and lines that start with "#" are skipped.
        beside: folder of the list; a relative path that the current folder lacks is looked up there.
    Raises:
        ConfigError: it is not text, such as a video instead of a list.
    """
    for written in file:
        line = written.removeprefix("\ufeff").strip()  # byte order mark, which Windows writes
        if "\0" in line:
            raise ConfigError("the list of videos contains null bytes, so it is not text; expected one path per line")
        if line and not line.startswith("#"):
            yield _resolve(line, beside)


def read_table(path: Path, *, known: Mapping[str, str] | None = None) -> list[VideoInput]:
    """Read a table of videos, or parts of them.

    Args:
        path: CSV with a header, or TSV by its suffix. Column `path` is required; `id`, `start_s`, `end_s` (seconds) and
            `track` are optional, and may be empty; every other column is a label and passed through. A relative path
            that the current folder lacks is looked up in the folder of the table.
        known: ids of an earlier run, by source, for rows without id.
    Returns:
        One video per row. The id of a row without one is its path without suffix, and its part:
        "talk@12.00-15.50", "talk@12.00-15.50+track1".
    Raises:
        ConfigError: no such table, no column `path`, a column whose name is nearly that of a known one, two rows of one
            id or of one part of a video, or a cell that is invalid or has no column; the message names the line.
    """
    csv.field_size_limit(_MAX_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            cells = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            header, rows = list(cells.fieldnames or ()), list(cells)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"table {path} cannot be read: {error}") from error
    named = [name for name in header if name]  # spreadsheets may add empty columns
    if len(set(named)) < len(named):
        raise ConfigError(f"table {path} has columns {header}; expected no duplicates")
    _check_columns(named, path)
    for line, row in enumerate(rows, start=2):
        if None in row:  # DictReader stores surplus cells under None
            raise ConfigError(
                f"table {path}, line {line}: more cells than the {len(header)} columns of the header; a cell that "
                "contains a comma needs quotes"
            )
    return videos_of_rows(rows, f"table {path}", beside=path.parent, known=known)


def videos_of_rows(
    rows: Sequence[Mapping[str, str]],
    table: str,
    *,
    beside: Path | None = None,
    known: Mapping[str, str] | None = None,
) -> list[VideoInput]:
    """The videos of a table's rows; see `read_table`.

    Args:
        rows: cells by column.
        table: name of the table in error messages.
        beside: folder of the table, which relative paths and ids may be relative to.
        known: ids of an earlier run, by source.
    Raises:
        ConfigError: an invalid cell.
    """
    places = [_resolve(_cell(row, "path", table, line), beside) for line, row in enumerate(rows, start=2)]
    unique = list(dict.fromkeys(places))
    base = beside or Path()
    preferred = [name_below(base, place) or Path(place).name or "video" for place in unique]
    names = dict(zip(unique, distinct_ids(unique, preferred.__getitem__, known or {}), strict=True))
    videos = [
        _row(row, place, names[place], table, line)
        for line, (row, place) in enumerate(zip(rows, places, strict=True), start=2)
    ]
    _check_duplicates(videos, table)
    return videos


def _check_columns(columns: Sequence[str], path: Path) -> None:
    """Refuse a column that is probably meant as a known one: as a label it would be ignored."""
    for known, others in _LIKELY.items():
        meant = [name for name in columns if name.strip().lower() in (known, *others)]
        if meant and known not in columns:
            raise ConfigError(
                f"table {path} has a column {meant[0]!r}; rename it to {known!r} if that is meant, else to a name that "
                f"cannot be mistaken (label_{meant[0].strip().lower()})"
            )
    if "path" not in columns:
        raise ConfigError(f"table {path} has columns {list(columns)}; expected one named 'path'")


def _check_duplicates(videos: Sequence[VideoInput], table: str) -> None:
    """Refuse two rows of one id, or of one part of a video, unless they say the same."""
    by_id: dict[str, tuple[int, VideoInput]] = {}
    by_part: dict[tuple[object, ...], tuple[int, VideoInput]] = {}
    for line, video in enumerate(videos, start=2):
        for first, other, what in (
            (*by_id.setdefault(video.id.casefold(), (line, video)), f"have the id {video.id!r}"),
            (*by_part.setdefault(video.key, (line, video)), f"are the same part of {video.source}"),
        ):
            if other != video:
                raise ConfigError(
                    f"{table}, lines {first} and {line} both {what}, and differ; give each row its own id and part, or "
                    "remove one"
                )


def _row(row: Mapping[str, str], source: str, name: str, table: str, line: int) -> VideoInput:
    start_s, end_s = _seconds(row, "start_s", table, line), _seconds(row, "end_s", table, line)
    if (start_s or 0) < 0 or (end_s is not None and end_s <= (start_s or 0)):
        raise ConfigError(f"{table}, line {line}: start_s = {start_s}, end_s = {end_s}; expected 0 <= start < end")
    track = _number(row, "track", table, line)
    own = (row.get("id") or "").strip()
    try:
        id = check_id(own or name + _part(start_s, end_s, track))
    except ConfigError as error:
        raise ConfigError(f"{table}, line {line}: {error}") from error
    labels = {key: value or "" for key, value in row.items() if key is not None and key not in _RESERVED}
    return VideoInput(id, source, start_s, end_s, track, labels)


def _part(start_s: float | None, end_s: float | None, track: int | None) -> str:
    span = (
        "" if start_s is None and end_s is None else f"@{start_s or 0:.2f}-{'end' if end_s is None else f'{end_s:.2f}'}"
    )
    return span + ("" if track is None else f"+track{track}")


def _cell(row: Mapping[str, str], column: str, table: str, line: int) -> str:
    value = (row.get(column) or "").strip()
    if not value:
        raise ConfigError(f"{table}, line {line}: the {column} is empty")
    return value


def _seconds(row: Mapping[str, str], column: str, table: str, line: int) -> float | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError as error:
        raise ConfigError(f"{table}, line {line}: {column} is {text!r}; expected a number of seconds") from error
    if not 0 <= value < float("inf"):
        raise ConfigError(f"{table}, line {line}: {column} is {text!r}; expected 0 or more seconds")
    return value


def _number(row: Mapping[str, str], column: str, table: str, line: int) -> int | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    if not re.fullmatch(r"\d+(\.0*)?", text):  # a column with gaps comes out of pandas as 1.0
        raise ConfigError(f"{table}, line {line}: {column} is {text!r}; expected a whole number")
    return int(text.partition(".")[0])


def _resolve(path: str, beside: Path | None) -> str:
    """Resolve a relative path that may be relative to the folder of its list."""
    if beside is None or "://" in path or os.path.isabs(path):
        return path
    here = os.path.join(beside, path)
    return here if not os.path.exists(path) and os.path.exists(here) else path
