"""Find the videos of a folder, and assign an identity to each."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, cast, get_args

from marlin_sdk.errors import ConfigError, VideoNotFoundError
from marlin_sdk.face.regions.precomputed import FRAME_FOLDERS
from marlin_sdk.training.prepare.split import Split, check_disjoint
from marlin_sdk.video.folders import describe_left_out
from marlin_sdk.video.reader import IMAGE_SUFFIXES, VIDEO_SUFFIXES

__all__ = ["IdentityRule", "Source", "find_sources", "plan_sources"]

logger = logging.getLogger("marlin_sdk")

IdentityRule = Literal["auto", "source", "folder"]


@dataclass(frozen=True)
class Source:
    """One video to prepare.

    Attributes:
        path: of the file, or of the folder of frames.
        id: its path below the folder of videos, "/" between its parts.
        identity: whose face it shows.
        split: as listed in a table; None if it is drawn at random.
    """

    path: Path
    id: str
    identity: str
    split: Split | None = None

    @property
    def stamp(self) -> str:
        """Size and modification time of the file, to detect changes; empty if it does not exist."""
        try:
            status = self.path.stat()
        except OSError:
            return ""
        return f"{status.st_size}-{status.st_mtime_ns}"


def find_sources(roots: Sequence[Path]) -> dict[str, Path]:
    """The videos below some folders, by id, sorted; hidden files are ignored, others that are no video are counted.

    A folder `frame_images_DB` holds folders of frames, `NAME/NUMBER`. A folder that holds images and no videos is
    itself one video.

    Args:
        roots: folders, or video files.
    Raises:
        VideoNotFoundError: no such file or folder.
        ConfigError: there are no videos.
    """
    for root in roots:
        if not root.exists():
            raise VideoNotFoundError(f"no such folder of videos: {root}")
    absolute = [Path(os.path.abspath(root)) for root in roots]  # noqa: PTH100 - resolve() would follow links
    base = Path(os.path.commonpath([root if root.is_dir() else root.parent for root in absolute]))
    if FRAME_FOLDERS in base.parts:
        base = Path(*base.parts[: base.parts.index(FRAME_FOLDERS)])
    found = {path.relative_to(base).as_posix(): path for root in absolute for path in _videos(root)}
    if "." in found:  # the only root is a folder of frames
        found = {base.name: base}
    if not found:
        raise ConfigError(
            f"no video in {', '.join(map(str, roots))}; expected files as {', '.join(sorted(VIDEO_SUFFIXES))}, or "
            f"frames as {FRAME_FOLDERS}/NAME/NUMBER/*.jpg"
        )
    return dict(sorted(found.items()))


def plan_sources(found: dict[str, Path], *, identity: IdentityRule = "auto", table: Path | None = None) -> list[Source]:
    """Assign an identity to each video.

    Args:
        found: from `find_sources`.
        identity: see `PrepareConfig`.
        table: a CSV file with the columns source (an id), and identity, split (train or val), or both; empty cells and
            videos that are not listed are handled as without a table.
    Raises:
        ConfigError: an identity in both splits, or an invalid table.
    """
    rows = _read_table(table, found) if table else {}
    sources = [
        Source(path, source, row.identity or _identity(source, identity), row.split)
        for source, path in found.items()
        for row in [rows.get(source, _Row())]
    ]
    check_disjoint((source.identity, source.split, f"{table} ({source.id})") for source in sources if source.split)
    return sources


@dataclass(frozen=True)
class _Row:
    """A video's row in a table."""

    identity: str = ""
    split: Split | None = None


def _videos(root: Path) -> Iterable[Path]:
    if not root.is_dir():
        return [root]
    below = [path for path in root.rglob("*") if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    videos = [path for path in below if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
    frames = {path.parent for path in below if path.suffix.lower() in IMAGE_SUFFIXES}
    folders = {folder for folder in frames if FRAME_FOLDERS in folder.parts}
    left_out: dict[str, list[str]] = {}
    for path in below:
        if path.suffix.lower() not in VIDEO_SUFFIXES and path.parent not in folders and path.is_file():
            left_out.setdefault(path.suffix.lower() or "without suffix", []).append(path.name)
    if videos and left_out:
        logger.warning("%s: %s", root, describe_left_out(left_out))
    itself = [root] if root in frames and not videos and not folders else []
    return [*videos, *folders, *itself]


def _identity(source: str, rule: IdentityRule) -> str:
    parts = PurePosixPath(source).parts
    if rule == "auto" and FRAME_FOLDERS in parts[:-2]:
        return parts[parts.index(FRAME_FOLDERS) + 1]
    return str(PurePosixPath(*parts[:-1])) if rule == "folder" and len(parts) > 1 else source


def _read_table(table: Path, found: dict[str, Path]) -> dict[str, _Row]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"table {table} cannot be read: {error}") from error
    parsed: dict[str, _Row] = {}
    for number, row in enumerate(rows, start=2):
        source = (row.get("source") or "").strip()
        if source not in found:
            raise ConfigError(
                f"table {table}, line {number}: no video {source!r}; expected a column source with paths such as "
                f"{next(iter(found))!r}"
            )
        split = (row.get("split") or "").strip()
        if split not in ("", *get_args(Split)):
            raise ConfigError(f"table {table}, line {number}: split is {split!r}; expected train or val")
        parsed[source] = _Row((row.get("identity") or "").strip(), cast("Split | None", split or None))
    return parsed
