"""Features and dumps that the tests of the report write for themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.manifest import Manifest, ManifestEntry
from marlin_sdk.features import SkippedWindow, VideoFeatures

STEPS = 16


def features_of(
    *,
    starts_s: Sequence[float],
    length_s: float,
    tracks: Sequence[int] | None = None,
    values: NDArray[Any] | None = None,
    dim: int = 8,
    box: Sequence[float] = (10, 10, 50, 50),
    fps: float = 25.0,
    skipped: Iterable[SkippedWindow] = (),
    warnings: Iterable[str] = (),
) -> VideoFeatures:
    """Features of windows that start at the times given."""
    count = len(starts_s)
    starts = np.array(starts_s, dtype=np.float64)
    first = np.nan_to_num(starts * fps, posinf=0).round().astype(np.int64)
    drawn = np.random.default_rng(count).standard_normal((count, dim))
    return VideoFeatures(
        features=np.asarray(drawn if values is None else values, dtype=np.float32),
        start_s=starts,
        end_s=starts + length_s,
        frame_index=first[:, None] + 2 * np.arange(STEPS),
        frame_valid=np.ones((count, STEPS), dtype=np.bool_),
        boxes=np.tile(np.array(box, dtype=np.float32), (count, STEPS, 1)),
        face_score=np.full((count, STEPS), 0.9, dtype=np.float32),
        track_id=np.array(tracks if tracks is not None else [0] * count, dtype=np.int64),
        skipped=tuple(skipped),
        warnings=tuple(warnings),
    )


def write_dump(folder: Path, videos: Iterable[tuple[ManifestEntry, VideoFeatures | None]]) -> Path:
    """A dump of .npz files; entries whose `file` is given and whose features are not, point to nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for entry, features in videos:
        if features is not None and entry.file:
            features.save(folder / entry.file)
        entries.append(entry)
    with Manifest(folder / "manifest.jsonl") as manifest:
        manifest.append(entries)
    return folder
