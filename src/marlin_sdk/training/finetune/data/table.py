"""A table of labelled clips, with the prepared faces that show them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe.samples import METADATA, Samples, groups_and_splits
from marlin_sdk.evaluation.probe.targets import Target
from marlin_sdk.inputs.tables import read_table
from marlin_sdk.inputs.videos import VideoInput, canonical_source
from marlin_sdk.training.finetune.data.placing import LeftOut, Place, WindowRule, place_rows
from marlin_sdk.training.prepare.config import PrepareConfig
from marlin_sdk.training.prepare.folder import DataFolder

__all__ = ["LabelledTable", "open_table", "say_left_out", "values_of"]

logger = logging.getLogger("marlin_sdk")
_NAMED = 3


@dataclass(frozen=True, eq=False)
class LabelledTable:
    """The rows of a table that prepared faces show.

    Attributes:
        rows: of the table.
        places: of each.
        samples: ids, labels, groups and splits, as a probe has them; without features.
        plan: how windows are taken.
        left_out: ids of the other rows, by reason.
        prepared: settings of the faces.
        notes: what there is to know, in words.
    """

    rows: tuple[VideoInput, ...]
    places: tuple[Place, ...]
    samples: Samples
    plan: WindowRule
    left_out: LeftOut
    prepared: PrepareConfig
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.rows)


def open_table(
    table: str | Path | Sequence[VideoInput],
    shards: str | Path,
    *,
    plan: WindowRule,
    jitter_s: float = 0.0,
    model: ModelConfig | None = None,
) -> LabelledTable:
    """Find the prepared faces of a table's rows.

    Args:
        table: as `marlin-extract --table` takes it, or its rows.
        shards: written by `marlin-sdk prepare`; all of its splits serve.
        plan: how windows are taken.
        jitter_s: see `place_rows`.
        model: whose size the faces must have.
    Raises:
        ConfigError: a table that cannot be read, faces of another size, or no row with a face.
    """
    rows = read_table(Path(table)) if isinstance(table, str | Path) else list(table)
    data = DataFolder(Path(shards))
    prepared = data.settings()
    if model is not None and prepared.size_px != model.img_size:
        raise ConfigError(
            f"{shards} holds crops of {prepared.size_px} pixels, and the model takes {model.img_size}; prepare the "
            f"videos with --size {model.img_size}, or leave --shards out"
        )
    places, left_out, notes = place_rows(rows, data, plan, jitter_s=jitter_s)
    kept = [index for index, place in enumerate(places) if place is not None]
    if not kept:
        raise ConfigError(f"no row of the table shows a prepared face: {'; '.join(say_left_out(left_out))}")
    used = tuple(rows[index] for index in kept)
    labels = tuple({name: value for name, value in row.labels.items() if value is not None} for row in used)
    groups, splits, ungrouped = groups_and_splits(labels, [canonical_source(row.source) for row in used])
    count = len(used)
    samples = Samples(
        ids=np.array([row.id for row in used]),
        features=np.empty((count, 0), np.float32),
        ends=np.empty(0, np.int64),
        windows=np.full(count, -1, np.int32),
        labels=labels,
        groups=groups,
        splits=splits,
        metadata=np.full((count, len(METADATA)), np.nan, np.float32),
        weights="",
        settings={},
        notes=(*say_left_out(left_out), *notes, *ungrouped),
    )
    found = tuple(place for place in places if place is not None)
    return LabelledTable(used, found, samples, plan, left_out, prepared, tuple(notes))


def say_left_out(left_out: LeftOut) -> list[str]:
    """How many clips are left out for which reason, with the names of the first, in words."""
    return [
        f"{len(ids)} clips are left out ({', '.join(ids[:_NAMED])}{', ...' * (len(ids) > _NAMED)}): {reason}"
        for reason, ids in left_out.items()
    ]


def values_of(targets: Sequence[Target]) -> NDArray[np.float32]:
    """The labels of all clips, float32 (N, L): the number, the index of the class, or NaN without a label."""
    columns: list[Any] = [
        np.where(target.values < 0, np.nan, target.values) if target.classes else target.values for target in targets
    ]
    return np.stack(columns, axis=1).astype(np.float32)
