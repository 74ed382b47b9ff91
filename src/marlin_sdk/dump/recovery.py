"""Reconcile the manifest of a dump with its files, after a kill or the removal of files."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from marlin_sdk.dump.manifest import ManifestEntry, manifests
from marlin_sdk.dump.reading import shard_entries

__all__ = ["SealedShard", "last_number", "recover_entries", "remove_leftovers", "sealed_shards", "without_missing"]

_LEFTOVER = re.compile(r"\.(.+)\.[0-9a-z_]+\.part\.(npz|npy|json|safetensors|parquet|tar)")
_SHARD = re.compile(r"features(-\d+-of-\d+)?-(\d+)\.(parquet|tar)")
_FILE_LINE = re.compile(rb'"file": "([^"]+)"')


class SealedShard(NamedTuple):
    """A file of many videos.

    Attributes:
        path: path of the file.
        suffix: suffix of the run that wrote it; see `Shard.suffix`.
        number: its number in that run, from 1.
        kind: "parquet" or "tar".
    """

    path: Path
    suffix: str
    number: int
    kind: str


def sealed_shards(folder: Path) -> list[SealedShard]:
    """The shards of a dump, in the order of their names."""
    shards = []
    for path in folder.glob("features*"):
        if match := _SHARD.fullmatch(path.name):
            shards.append(SealedShard(path, match[1] or "", int(match[2]), match[3]))
    return sorted(shards, key=lambda shard: (shard.suffix, shard.number, shard.kind))


def last_number(names: Iterable[str], suffix: str, kind: str) -> int:
    """The highest shard number of a run, from file names; 0 if there are none."""
    matches = [match for name in names if (match := _SHARD.fullmatch(name))]
    return max((int(match[2]) for match in matches if (match[1] or "", match[3]) == (suffix, kind)), default=0)


def without_missing(folder: Path, entries: Mapping[str, ManifestEntry]) -> dict[str, ManifestEntry]:
    """Drop the entries of videos whose file was removed, so that they are embedded again.

    Folders are listed instead of checking each file: for a hundred thousand files this takes a second, also over a
    network.
    """

    @cache
    def names(place: str) -> frozenset[str] | None:
        try:
            return frozenset(path.name for path in (folder / place).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        except OSError:
            return None  # unknown; reading the rows will report the error

    def is_there(file: str) -> bool:
        place, _, name = file.rpartition("/")
        return (there := names(place)) is None or name in there

    return {id: entry for id, entry in entries.items() if entry.file is None or is_there(entry.file)}


def recover_entries(folder: Path, known: Collection[str], *, suffix: str = "") -> list[ManifestEntry]:
    """Entries of sealed shards that no manifest records, because a run was killed between the rename and the append.

    Only shards that no line names are opened, and the last one that each manifest names: the lines of a shard are
    appended at once, so a kill can only truncate them at the end of the manifest.

    Args:
        folder: folder of the dump.
        known: ids that need no recovery.
        suffix: consider only this run's shards, because other runs may be writing theirs; empty considers all.
    Returns:
        An entry for each video that is not known, with `file`.
    Raises:
        FeatureFileError: a shard is broken.
        MissingExtraError: the format's extra is not installed.
    """
    named: set[str] = set()
    for path in manifests(folder):
        own: list[str] = []
        with path.open("rb") as lines:
            own = [match[1].decode(errors="replace") for line in lines if (match := _FILE_LINE.search(line))]
        named |= set(own) - set(own[-1:])
    found: dict[str, ManifestEntry] = {}
    for shard in sealed_shards(folder):
        if shard.path.name in named or (suffix and shard.suffix != suffix):
            continue
        for entry in shard_entries(shard.path):
            if entry.id not in known:
                found[entry.id] = entry
    return list(found.values())


def remove_leftovers(folder: Path, *, suffix: str = "") -> int:
    """Remove the partial files of killed runs. The caller must hold the lock (`lock_folder`).

    Args:
        folder: folder of the dump.
        suffix: remove only parts of this run's shards, because other runs may be writing theirs; empty removes all,
            including those in subfolders.
    Returns:
        The number of files removed.
    """
    removed = 0
    for place, folders, names in os.walk(folder):
        for name in names:
            match = _LEFTOVER.fullmatch(name)
            if match and (not suffix or re.fullmatch(rf"features{re.escape(suffix)}-\d+", match[1])):
                Path(place, name).unlink(missing_ok=True)
                removed += 1
        if suffix:
            folders.clear()
    return removed
