"""How a dump is laid out on the disk, and which part of it a run makes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from marlin_sdk.dump.lock import Shard
from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.features import FeatureFormat

__all__ = ["DumpPlan"]


@dataclass(frozen=True)
class DumpPlan:
    """How a dump is kept.

    Attributes:
        folder: of the dump.
        format: npz, npy, safetensors, parquet or webdataset.
        shard: the part of the inputs that this run takes.
        shard_rows: rows in a file, of the formats that keep many videos in one.
        retry_failed: do again what failed in an earlier run.
        overwrite: do everything again; what is there is replaced.
    """

    folder: Path
    format: str = "npz"
    shard: Shard = field(default_factory=lambda: Shard(1, 1))
    shard_rows: int = 20_000
    retry_failed: bool = True
    overwrite: bool = False

    @property
    def is_file_a_video(self) -> bool:
        """Whether each video has a file of its own."""
        return self.format in get_args(FeatureFormat)

    def where(self, id: str) -> str:
        """Where a person finds the rows of a video."""
        return str(self.folder / f"{id}.{self.format}") if self.is_file_a_video else f"{self.folder}: {id}"

    def is_missing(self, entry: ManifestEntry | None) -> bool:
        """Whether a video is to be done, given what earlier runs made of it."""
        return self.overwrite or entry is None or (not entry.is_final and self.retry_failed)
