"""Dumps of made-up features that know, or do not know, a label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.unit.report.dumps import features_of

from marlin_sdk.dump.manifest import Manifest, ManifestEntry

DIM = 12


def write_labelled(
    folder: Path,
    labels: list[dict[str, Any]],
    *,
    signal: NDArray[np.float64] | None = None,
    windows: int = 3,
    seed: int = 0,
    weights: str = "untrained:0",
    durations_s: list[float] | None = None,
) -> Path:
    """A dump of one video a row; a video's windows lie around its signal, if it has one, in noise."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    entries = []
    for index, own in enumerate(labels):
        id = f"v{index:03d}"
        values = random.standard_normal((windows, DIM))
        if signal is not None:
            values[:, : signal.shape[1]] += signal[index]
        features = features_of(starts_s=[0.64 * k for k in range(windows)], length_s=1.28, values=values)
        features.save(folder / f"{id}.npz")
        entries.append(
            ManifestEntry(
                id=id,
                source=f"/nowhere/{id}.mp4",
                status="ok",
                rows=windows,
                file=f"{id}.npz",
                labels=own,
                weights=weights,
                duration_s=durations_s[index] if durations_s else 2.0 + random.random(),
            )
        )
    with Manifest(folder / "manifest.jsonl") as manifest:
        manifest.append(entries)
    return folder


def two_classes(
    count: int = 60, *, people: int = 20, split: bool = True, seed: int = 0
) -> tuple[list[dict[str, Any]], Any]:
    """Labels and a signal of two classes; each person has one class, and is in one split."""
    random = np.random.default_rng(seed)
    labels, signal = [], []
    for index in range(count):
        person = index % people
        happy = person % 2 == 0
        own: dict[str, Any] = {"emotion": "happy" if happy else "angry", "group": f"p{person:02d}"}
        if split:
            own["split"] = ("train", "train", "train", "val", "test")[person // 2 % 5]
        labels.append(own)
        signal.append([2.0 if happy else -2.0, *(0.3 * random.standard_normal(2))])
    return labels, np.array(signal)
