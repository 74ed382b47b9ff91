"""What every reader of a data set takes and returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from marlin_sdk.datasets.table import Clip
from marlin_sdk.datasets.unpacked import UnpackedFolder

__all__ = ["SPLITS", "Listing", "Reader"]

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Our name of a split, by the names that data sets have for it, in lower case."""


@dataclass
class Listing:
    """What a reader finds in a folder; `marlin_sdk.datasets.read` makes a table of it.

    Attributes:
        clips: those whose files are there.
        split_by: who made the splits; None asks for a split by the seed.
        strata: labels that such a split balances; see `marlin_sdk.datasets.splits.seeded`.
        absent: clips that a list names, without a file.
        unlisted: other files of videos, to which no list, folder or name gives a label.
        dropped: other clips that are left out, by reason.
        notes: what else there is to know, a sentence each.
    """

    clips: list[Clip] = field(default_factory=list)
    split_by: str | None = None
    strata: tuple[str, ...] = ()
    absent: list[str] = field(default_factory=list)
    unlisted: list[str] = field(default_factory=list)
    dropped: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def drop(self, reason: str, name: str) -> None:
        """Leave a clip out for a reason."""
        self.dropped.setdefault(reason, []).append(name)

    def find_unlisted(self, files: Iterable[str], listed: Iterable[str]) -> None:
        """Note the files that no list names."""
        named = set(listed)
        self.unlisted += [name for name in files if name not in named]


class Reader(Protocol):
    """Reads the clips of one data set."""

    def __call__(self, folder: UnpackedFolder, options: Mapping[str, str], /) -> Listing:
        """Read them.

        Args:
            folder: where it was unpacked.
            options: a value for each option that the catalogue names for this data set.
        Raises:
            ConfigError: it is half unpacked, or a list is damaged; the message names the file and line.
        """
        ...
