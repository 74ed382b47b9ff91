"""Lists and tables of videos: one line per video, or per part of one."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from marlin_sdk.errors import ConfigError
from marlin_sdk.inputs.videos import VideoInput, check_id, distinct_ids, name_below
from marlin_sdk.labels import Label, parse_column

__all__ = ["KNOWN_COLUMNS", "read_list", "read_table", "videos_of_rows"]

KNOWN_COLUMNS = ("path", "id", "start_s", "end_s", "track")
"""Columns of a table that are no labels."""

_MAX_CELL = 1 << 16
# Other names of a column, in lower case and without "_", which would turn it into a label without a word.
_LIKELY = {
    "path": ("file", "filename", "filepath", "video", "videofile", "videoname", "videopath", "clip", "clipname",
             "clippath", "fullpath", "source", "url", "uri"),
    "id": ("clipid", "segmentid", "sampleid", "utteranceid"),
    "start_s": ("start", "begin", "startsec", "starttime", "startseconds", "begins"),
    "end_s": ("end", "stop", "endsec", "endtime", "endseconds", "stops"),
    "track": ("trackid",),
}  # fmt: skip


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


def read_table(
    path: Path, *, known: Mapping[str, str] | None = None, columns: Mapping[str, str] | None = None
) -> list[VideoInput]:
    """Read a table of videos, or parts of them.

    Args:
        path: CSV with a header, or TSV by its suffix. Column `path` is required; `id`, `start_s`, `end_s` (seconds) and
            `track` are optional, and may be empty; every other column is a label and passed through, typed as
            `parse_column` says. A relative path that the current folder lacks is looked up in the folder of the table.
        known: ids of an earlier run, by source, for rows without id.
        columns: columns with other names: `{"start": "start_s"}` reads `start` as `start_s`.
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
            lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
            header, rows = next(lines, []), [row for row in lines if row]
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"table {path} cannot be read: {error}") from error
    table = f"table {path}"
    header = _renamed(header, columns or {}, table)
    for line, row in enumerate(rows, start=2):
        if len(row) > len(header):
            raise ConfigError(
                f"{table}, line {line}: more cells than the {len(header)} columns of the header; a cell that "
                "contains a comma needs quotes"
            )
    named = [name for name in header if name]  # spreadsheets may add empty columns
    if len(set(named)) < len(named):
        raise ConfigError(f"{table} has columns {header}; expected no duplicates")
    by_column = [{name: cell for name, cell in zip(header, row, strict=False) if name} for row in rows]
    return videos_of_rows(by_column, table, columns=named, beside=path.parent, known=known)


def videos_of_rows(
    rows: Sequence[Mapping[str, str]],
    table: str,
    *,
    columns: Sequence[str] | None = None,
    beside: Path | None = None,
    known: Mapping[str, str] | None = None,
) -> list[VideoInput]:
    """The videos of a table's rows; see `read_table`.

    Args:
        rows: cells by column.
        table: name of the table in error messages.
        columns: names of the columns; by default those of the rows.
        beside: folder of the table, which relative paths and ids may be relative to.
        known: ids of an earlier run, by source.
    Raises:
        ConfigError: an invalid column or cell.
    """
    if columns is None:
        columns = list(dict.fromkeys(name for row in rows for name in row)) or KNOWN_COLUMNS
    _check_columns(columns, table)
    places = [_resolve(_cell(row, "path", table, line), beside) for line, row in enumerate(rows, start=2)]
    unique = list(dict.fromkeys(places))
    base = beside or Path()
    preferred = [name_below(base, place) or Path(place).name or "video" for place in unique]
    names = dict(zip(unique, distinct_ids(unique, preferred.__getitem__, known or {}), strict=True))
    labels = {
        name: parse_column([row.get(name) or "" for row in rows], f"{table}: label {name!r}")
        for name in columns
        if name not in KNOWN_COLUMNS
    }
    videos = [
        _row(row, place, names[place], {name: values[line - 2] for name, values in labels.items()}, table, line)
        for line, (row, place) in enumerate(zip(rows, places, strict=True), start=2)
    ]
    _check_duplicates(videos, table)
    return videos


def _renamed(header: Sequence[str], columns: Mapping[str, str], table: str) -> list[str]:
    """The header with the known names of columns that are called otherwise."""
    for found, meant in columns.items():
        if meant not in KNOWN_COLUMNS:
            raise ConfigError(f"--column {found}={meant}: {meant!r} is not one of {', '.join(KNOWN_COLUMNS)}")
        if found not in header:
            raise ConfigError(f"--column {found}={meant}: {table} has no column {found!r}, but {list(header)}")
        others = [other for other, name in columns.items() if name == meant and other != found]
        if others or (meant in header and meant not in columns and meant != found):
            raise ConfigError(
                f"--column {found}={meant}: {table} has {(others or [meant])[0]!r} for {meant!r} already; map only one"
            )
    return [columns.get(name, name) for name in header]


def _check_columns(columns: Sequence[str], table: str) -> None:
    """Refuse a column that is probably meant as a known one: as a label it would be ignored."""
    for known, others in _LIKELY.items():
        # beside the path, "video" or "source" says something else; beside start_s, "start" is still a trap
        names = () if known in columns and known in ("path", "id") else others
        for name in columns:
            plain = re.sub(r"[\W_]", "", name.lower())
            if name != known and (plain in names or plain == known.replace("_", "")):
                raise ConfigError(
                    f"{table} has a column {name!r}; if {known!r} is meant, rename it or add --column {name}={known}, "
                    f"else rename it to what cannot be mistaken (label_{name.strip().lower()})"
                )
    if "path" not in columns:
        raise ConfigError(f"{table} has columns {list(columns)}; expected one named 'path'")


def _check_duplicates(videos: Sequence[VideoInput], table: str) -> None:
    """Refuse two rows of one id, or of one part of a video, unless they say the same."""
    by_id: dict[str, tuple[int, VideoInput]] = {}
    by_part: dict[tuple[object, ...], tuple[int, VideoInput]] = {}
    for line, video in enumerate(videos, start=2):
        first, other = by_part.setdefault(video.key, (line, video))
        both = f"{table}, lines {first} and {line} both"
        if differing := [name for name, value in video.labels.items() if other.labels[name] != value]:
            raise ConfigError(
                f"{both} are the same part of {video.source}, and differ in {', '.join(differing)}; several labels of "
                f"one clip, such as those of several raters, are columns: {differing[0]}_1, {differing[0]}_2"
            )
        if other.id != video.id:
            raise ConfigError(
                f"{both} are the same part of {video.source}, with the ids {other.id!r} and {video.id!r}; remove one"
            )
        first, other = by_id.setdefault(video.id.casefold(), (line, video))
        if other.key != video.key:
            raise ConfigError(
                f"{table}, lines {first} and {line} both have the id {video.id!r}: {_told(other)} and {_told(video)}; "
                "give each row its own id, or remove one"
            )


def _told(video: VideoInput) -> str:
    return video.source + _part(video.start_s, video.end_s, video.track)


def _row(
    row: Mapping[str, str], source: str, name: str, labels: Mapping[str, Label | None], table: str, line: int
) -> VideoInput:
    start_s, end_s = _seconds(row, "start_s", table, line), _seconds(row, "end_s", table, line)
    if (start_s or 0) < 0 or (end_s is not None and end_s <= (start_s or 0)):
        raise ConfigError(f"{table}, line {line}: start_s = {start_s}, end_s = {end_s}; expected 0 <= start < end")
    track = _number(row, "track", table, line)
    own = (row.get("id") or "").strip()
    try:
        id = check_id(own or name + _part(start_s, end_s, track))
    except ConfigError as error:
        raise ConfigError(f"{table}, line {line}: {error}") from error
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
