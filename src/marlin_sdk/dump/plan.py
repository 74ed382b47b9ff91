"""The layout of a dump on disk, and the part of it that a run makes."""

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
    """The layout of a dump, and what a run does with it.

    Attributes:
        folder: folder of the dump.
        format: npz, npy, safetensors, parquet or webdataset.
        shard: the part of the inputs that this run processes.
        shard_rows: approximate rows per file, for parquet and webdataset.
        retry_failed: retry videos that failed in an earlier run.
        overwrite: start over; an existing dump is replaced.
    """

    folder: Path
    format: str = "npz"
    shard: Shard = field(default_factory=lambda: Shard(1, 1))
    shard_rows: int = 20_000
    retry_failed: bool = True
    overwrite: bool = False

    @property
    def has_file_per_video(self) -> bool:
        """Whether there is one file per video."""
        return self.format in get_args(FeatureFormat)

    def beside(self, name: str) -> str:
        """The name of a file beside the features: in a parquet dump with "_", or Arrow would take it for a shard."""
        return f"_{name}" if self.format == "parquet" else name

    def where(self, id: str) -> str:
        """Location of the rows of a video, for messages."""
        return str(self.folder / f"{id}.{self.format}") if self.has_file_per_video else f"{self.folder}: {id}"

    def is_missing(self, entry: ManifestEntry | None) -> bool:
        """Whether a video is still to be embedded, given its entry of earlier runs."""
        return self.overwrite or entry is None or (not entry.is_final and self.retry_failed)
