"""The folder of an unpacked data set: its videos, and its lists, all of which are untrusted."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from marlin_sdk.errors import ConfigError

__all__ = ["SUFFIXES", "UnpackedFolder", "stem"]

SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".flv", ".m4v", ".mpg", ".mpeg", ".wmv")
"""Suffixes of the videos of public data sets."""

_MAX_LIST = 4 << 30  # bytes; the largest list, of a million clips, has about one
_MAX_CELL = 1 << 16


class UnpackedFolder:
    """A folder in which a data set was unpacked.

    Names of files are relative to it, with "/". A name that leads out of it names no file.

    Args:
        root: the folder.
        expected: the files that it must have, for error messages.
    Raises:
        ConfigError: no such folder.
    """

    def __init__(self, root: Path, expected: str) -> None:
        self.root, self._expected = root, expected
        self._listings: dict[str, frozenset[str]] = {}
        if not root.is_dir():
            raise ConfigError(f"there is no folder {root}; expected {expected}")

    def has(self, name: str) -> bool:
        """Whether there is such a file or folder. Each folder is listed once, not each file opened."""
        parent, _, last = name.rpartition("/")
        return _is_inside(name) and last in self._listing(parent)

    def first(self, *names: str) -> str | None:
        """The first of these names that is there."""
        return next(filter(self.has, names), None)

    def need(self, *names: str) -> str:
        """The first of these names that is there.

        Raises:
            ConfigError: none is; the data set is half unpacked, or this is another folder.
        """
        found = self.first(*names)
        if found is None:
            raise ConfigError(
                f"{self.root} has no {' or '.join(names)}; expected {self._expected}. Unpack all of it, or give the "
                "folder that holds it"
            )
        return found

    def incomplete(self, what: str) -> ConfigError:
        """The error of a folder in which something is missing altogether."""
        return ConfigError(f"{self.root} has no {what}; expected {self._expected}. Unpack all of it")

    def path(self, name: str) -> Path:
        return self.root / name

    def folders(self, name: str = "") -> list[str]:
        """Names of the folders in a folder, sorted; hidden ones are none."""
        return [one for one in sorted(self._listing(name)) if one[0] != "." and (self.root / name / one).is_dir()]

    def files(self, below: str = "", suffixes: tuple[str, ...] = SUFFIXES) -> list[str]:
        """Files below a folder by their suffix, sorted; hidden ones are none. A linked folder is visited once."""
        found, entered = list[str](), set[str]()
        for where, folders, names in os.walk(self.root / below, onerror=_refuse, followlinks=True):
            real = os.path.realpath(where)
            if real in entered:
                folders.clear()
                continue
            entered.add(real)
            folders[:] = sorted(one for one in folders if one[0] != ".")
            prefix = Path(where).relative_to(self.root).as_posix()
            prefix = "" if prefix == "." else f"{prefix}/"
            found += [prefix + one for one in names if one[0] != "." and one.lower().endswith(suffixes)]
        return sorted(found)

    def find(self, name: str) -> str | None:
        """A video anywhere in the folder by its name without folders and suffix; None if there is none.

        Raises:
            ConfigError: there are several.
        """
        files = self.by_stem.get(name, [])
        if len(files) > 1:
            raise ConfigError(f"{self.root} has {name} twice: {files[0]} and {files[1]}; take the wrong one out of it")
        return files[0] if files else None

    @cached_property
    def by_stem(self) -> Mapping[str, list[str]]:
        """Videos anywhere in the folder, by their names without folders and suffix."""
        found: dict[str, list[str]] = {}
        for name in self.files():
            found.setdefault(stem(name), []).append(name)
        return found

    def text(self, name: str) -> str:
        """The text of a file.

        Raises:
            ConfigError: it cannot be read, is too large, or is not text.
        """
        path = self.root / name
        try:
            if (size := path.stat().st_size) > _MAX_LIST:
                raise ConfigError(f"{path} has {size:,} bytes; expected a list of at most {_MAX_LIST:,}")
            return path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error

    def lines(self, name: str) -> Iterator[tuple[str, str]]:
        """The lines of a list that are not empty, each with its place for messages: "FILE, line 3"."""
        for number, line in enumerate(self.text(name).splitlines(), start=1):
            if line.strip():
                yield f"{self.root / name}, line {number}", line.strip()

    def json(self, name: str) -> Any:
        """A file of JSON.

        Raises:
            ConfigError: it is not JSON; the message names the line.
        """
        try:
            return json.loads(self.text(name))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{self.root / name}, line {error.lineno}: {error.msg}; expected JSON") from error
        except (RecursionError, ValueError) as error:
            raise ConfigError(f"{self.root / name} is not usable JSON: {error}") from error

    def rows(self, name: str, *columns: str, delimiter: str = ",") -> Iterator[tuple[str, dict[str, str]]]:
        """The rows of a CSV file with a header, each with its place for messages.

        Args:
            name: of the file.
            columns: that it must have. Names and cells are stripped: some headers have blanks.
            delimiter: between cells.
        Raises:
            ConfigError: it is not CSV, lacks a column, or a row has too few or too many cells.
        """
        path = self.root / name
        csv.field_size_limit(_MAX_CELL)
        reader = csv.reader(self.text(name).splitlines(keepends=True), delimiter=delimiter, strict=True)
        try:
            header = [cell.strip() for cell in next(reader, [])]
            missing = [column for column in columns if column not in header]
            if missing:
                raise ConfigError(f"{path}, line 1: columns {header}; expected {', '.join(columns)}")
            for cells in reader:
                if not any(cells):
                    continue
                if len(cells) != len(header):
                    raise ConfigError(f"{path}, line {reader.line_num}: {len(cells)} cells; expected {len(header)}")
                row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
                yield f"{path}, line {reader.line_num}", row
        except csv.Error as error:
            raise ConfigError(f"{path}, line {reader.line_num}: {error}; expected CSV") from error

    def _listing(self, name: str) -> frozenset[str]:
        if name not in self._listings:
            try:
                self._listings[name] = frozenset(os.listdir(self.root / name))  # noqa: PTH208
            except PermissionError as error:
                _refuse(error)
            except (OSError, ValueError):  # no such folder, or no possible name of one
                self._listings[name] = frozenset()
        return self._listings[name]


def stem(name: str) -> str:
    """A name without folders, and without the suffix of a video."""
    last = name.rpartition("/")[2]
    return last[: -len(PurePosixPath(last).suffix)] if last.lower().endswith(SUFFIXES) else last


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise ConfigError(f"{error.filename} cannot be read: {error.strerror}") from error


def _is_inside(name: str) -> bool:
    return not name.startswith("/") and "\0" not in name and ".." not in name.split("/") and "" not in name.split("/")
