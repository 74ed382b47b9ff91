"""Dumps with columns, and predictions for them, that the tests of the audit make up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tests.unit.report.dumps import features_of, write_dump

from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.features import SkippedWindow


def people(count: int = 80, *, videos: int = 2) -> list[dict[str, Any]]:
    """Labels of the videos of people, of whom every second is "f"; ages rise."""
    return [
        {"group": f"p{person:03d}", "sex": "mf"[person % 2], "age": 20 + person % 40}
        for person in range(count)
        for _ in range(videos)
    ]


def labelled_dump(
    folder: Path,
    labels: list[dict[str, Any]],
    *,
    lost: dict[int, int] | None = None,
    told: str | None = None,
    seed: int = 0,
) -> FeatureDump:
    """A dump of two windows a video.

    Args:
        folder: where it is written.
        labels: of each video.
        lost: windows without a face, by index of the video.
        told: a column with two values that the features tell.
        seed: of the features.
    """
    random = np.random.default_rng(seed)
    videos = []
    for index, own in enumerate(labels):
        values = random.standard_normal((2, 6))
        if told is not None:
            values[:, 0] += 3 if own[told] == "f" else -3
        gaps = [SkippedWindow(10.0 + at, 11.0 + at, "no face") for at in range((lost or {}).get(index, 0))]
        features = features_of(starts_s=[0.0, 1.0], length_s=1.0, values=values, skipped=gaps)
        entry = ManifestEntry(
            id=f"v{index:03d}",
            source=f"/nowhere/{index}.mp4",
            status="partial" if gaps else "ok",
            rows=2,
            skipped_windows=len(gaps),
            file=f"v{index:03d}.npz",
            labels=own,
            weights="untrained:0",
            duration_s=3.0,
        )
        videos.append((entry, features))
    return FeatureDump(write_dump(folder, [(replace(entry), features) for entry, features in videos]))
