"""`audit_dump`: everything that a dump, and predictions of a head, say by the user's own columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.audit.cells import Cell, Videos, make_cells, read_videos
from marlin_sdk.evaluation.audit.comparing import Better, GroupTable, compare, mean_scorer
from marlin_sdk.evaluation.audit.data import (
    Association,
    ColumnProbe,
    Count,
    associations,
    column_probes,
    counts,
)
from marlin_sdk.evaluation.audit.detection import detection_table
from marlin_sdk.evaluation.audit.head import head_tables
from marlin_sdk.evaluation.intervals import check_interval
from marlin_sdk.evaluation.predictions import Predictions

__all__ = ["DumpAudit", "audit_dump"]

Advance = Callable[[str, int, int], None]


@dataclass(frozen=True)
class DumpAudit:
    """An audit of a dump.

    Attributes:
        by: the columns.
        videos: number of videos.
        subjects: number of subjects.
        counts: videos and subjects of each cell.
        tables: finding faces; for each label of the predictions, predicting it; with `tones`, the picture.
        associations: of labels with columns, the strongest first.
        probes: of columns from features.
        notes: what to know about all of them.
    """

    by: tuple[str, ...]
    videos: int
    subjects: int
    counts: tuple[Count, ...]
    tables: tuple[GroupTable, ...]
    associations: tuple[Association, ...]
    probes: tuple[ColumnProbe, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it: numbers, text, lists, objects and null."""
        return asdict(self)


def audit_dump(
    dump: FeatureDump,
    by: Sequence[str],
    *,
    predictions: Predictions | None = None,
    tones: Mapping[str, float] | None = None,
    draws: int = 2000,
    seed: int = 0,
    advance: Advance = lambda stage, done, total: None,
) -> DumpAudit:
    """Audit a dump by label columns and their intersections.

    Args:
        dump: extracted with a table that has the columns, and the subject of each video as `group`.
        by: label columns, at most three.
        predictions: of a head, for videos of the dump.
        tones: apparent skin tone of videos, by id: ITA in degrees.
        draws: number of draws of subjects for the intervals.
        seed: of draws and folds.
        advance: called with what is being done, the number done, and of all.
    Raises:
        ConfigError: a column that cannot be used, see `read_videos`; features that a probe cannot use; too few draws.
        PredictionsError: the predictions are not for videos of the dump.
        FeatureFileError: a file of the dump cannot be read.
        MissingExtraError: scikit-learn is not installed.
    """
    check_interval("percentile", draws)
    videos = read_videos(dump, by)
    cells = make_cells(videos)
    notes = list(videos.notes)
    tables = [
        detection_table(dump, videos, cells, draws=draws, seed=seed, progress=lambda *n: advance("reading faces", *n))
    ]
    if predictions is not None:
        tables += head_tables(predictions, videos, cells, draws=draws, seed=seed)
    if tones is not None:
        tables.append(_tone_table(tones, videos, cells, draws=draws, seed=seed))
    found, left_out = associations(dump, videos, draws=draws, seed=seed)
    try:
        probes = column_probes(
            dump, videos, draws=draws, seed=seed, progress=lambda *n: advance("reading features", *n)
        )
    except ConfigError as error:
        probes, notes = [], [*notes, f"columns were not probed from features: {error}"]
    return DumpAudit(
        tuple(by),
        len(videos),
        len(np.unique(videos.subjects)),
        tuple(counts(videos, cells)),
        tuple(tables),
        tuple(found),
        tuple(probes),
        (*notes, *left_out),
    )


def _tone_table(
    tones: Mapping[str, float], videos: Videos, cells: Sequence[Cell], *, draws: int, seed: int
) -> GroupTable:
    values = np.array([[tones.get(id, np.nan)] for id in videos.ids])
    missing = int(np.isnan(values).sum())
    notes = ["the apparent tone is of pictures: light and camera change it as much as skin does"]
    if missing:
        notes.append(f"{missing} of {len(videos)} videos have none: no face, a source that is gone, or clipped pixels")
    metrics: dict[str, Better] = {"apparent_ita": "neither"}
    score = partial(mean_scorer, values, tuple(metrics))
    return compare("The picture", cells, videos.subjects, score, metrics, draws=draws, seed=seed, notes=notes)
