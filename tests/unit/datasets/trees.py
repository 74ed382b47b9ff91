"""Miniature data sets: folders of empty files with lists as the real ones have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.making import lay

from marlin_sdk.batch.inputs import VideoInput
from marlin_sdk.batch.tables import read_table
from marlin_sdk.datasets import Clip, Table


def plant(root: Path, *names: str) -> Path:
    """Make empty files; a name that ends with "/" is a folder."""
    for name in names:
        if name.endswith("/"):
            (root / name).mkdir(parents=True, exist_ok=True)
        else:
            lay(root / name, b"")
    return root


def note(root: Path, name: str, content: str | Mapping[str, Any] | list[Any]) -> Path:
    """Write a list: text, or JSON."""
    return lay(root / name, (content if isinstance(content, str) else json.dumps(content)).encode())


def clips_of(table: Table) -> dict[str, Clip]:
    """The clips by id."""
    return {clip.id: clip for clip in table.clips}


def column(table: Table, label: str) -> dict[str, Any]:
    """A label by id; of each clip, it must be there."""
    return {clip.id: clip.labels[label] for clip in table.clips}


def splits_of(table: Table) -> dict[str, str]:
    """The split by id."""
    return {clip.id: clip.split for clip in table.clips}


def read_back(table: Table, file: Path) -> list[VideoInput]:
    """The table as marlin-extract reads it."""
    table.write(file)
    return read_table(file)
