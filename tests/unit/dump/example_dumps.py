"""Features and dumps made of random numbers, for the tests of what keeps them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from tests.patience import HANG_S

from marlin_sdk import SkippedWindow, VideoFeatures
from marlin_sdk.dump.manifest import Manifest, ManifestEntry
from marlin_sdk.dump.writers import FeatureWriter, open_writer
from marlin_sdk.features.labels import Label

ROOT = Path(__file__).parents[3]
FORMATS = ("npz", "npy", "safetensors", "parquet", "webdataset")
SHARDED = ("parquet", "webdataset")


def random_features(rows: int = 5, *, shape: tuple[int, ...] = (8,), seed: int = 0) -> VideoFeatures:
    """Rows in which no two numbers are alike, two tracks, scores that are NaN here and there, notes of every kind."""
    rng = np.random.default_rng(seed)
    scores = rng.random((rows, 16), dtype=np.float32)
    scores[:, ::3] = np.nan
    return VideoFeatures(
        features=rng.standard_normal((rows, *shape)).astype(np.float32),
        start_s=np.sort(rng.random(rows)),
        end_s=np.sort(rng.random(rows)) + 1,
        frame_index=rng.integers(0, 1 << 40, (rows, 16)),
        frame_valid=rng.random((rows, 16)) < 0.5,
        boxes=rng.standard_normal((rows, 16, 4)).astype(np.float32),
        face_score=scores,
        track_id=np.arange(rows, dtype=np.int64) % 2,
        skipped=(SkippedWindow(0.1, 0.74, "no face in 9 of 16 frames"), SkippedWindow(2.0, 2.64, "no fäce")),
        warnings=("frame 7 is damaged\nand so is frame 8",),
        meta={"source": f"clips/{seed}.mp4", "settings": {"fps": None, "stride": 16}, "list": [1, 2.5, "x"]},
    )


def entry(
    id: str, features: VideoFeatures, labels: Mapping[str, Label] | None = None, at: float = 1.0
) -> ManifestEntry:
    """Its line in the manifest, before a writer has kept it."""
    return ManifestEntry(
        id=id,
        source=f"/data/{id}.mp4",
        status="ok",
        rows=len(features),
        labels=None if labels is None else dict(labels),
        finished_at=at,
    )


def assert_same(got: VideoFeatures, expected: VideoFeatures) -> None:
    """Field by field: values, dtypes, shapes, NaN where NaN is."""
    for name in ("features", "start_s", "end_s", "frame_index", "frame_valid", "boxes", "face_score", "track_id"):
        ours, theirs = getattr(got, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name, strict=True)
    assert got.skipped == expected.skipped
    assert got.warnings == expected.warnings
    assert {**got.meta, "id": None} == {**expected.meta, "id": None}  # told by a dump, not by a file


def write_dump(
    folder: Path,
    videos: dict[str, VideoFeatures],
    format: str,
    *,
    labels: Mapping[str, Mapping[str, Label]] | None = None,
    shard_rows: int = 20_000,
    at: float = 1.0,
) -> dict[str, ManifestEntry]:
    """A dump with its manifest, as the engine makes it."""
    kept: list[ManifestEntry] = []
    with (
        Manifest(folder / "manifest.jsonl") as manifest,
        closing(open_writer(folder, format, shard_rows=shard_rows)) as writer,
    ):
        for id, features in videos.items():
            kept += writer.write(entry(id, features, (labels or {}).get(id), at), features)
        kept += writer.close()
        manifest.append(kept)
    return {one.id: one for one in kept}


@contextmanager
def closing(writer: FeatureWriter) -> Iterator[FeatureWriter]:
    """Leave nothing open, whatever a test does."""
    try:
        yield writer
    finally:
        writer.discard()


def without_file(one: ManifestEntry) -> ManifestEntry:
    """As it was before it was kept."""
    return replace(one, file=None)


def resident_mb() -> float:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * resource.getpagesize() / 2**20


def run_python(script: str, *arguments: str, expected: int = 0, **environment: str) -> str:
    """Run a script in a process of its own, warnings being errors; give back what it prints."""
    path = os.pathsep.join([str(ROOT), *sys.path])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path, **environment},
        timeout=HANG_S,
    )
    assert done.returncode == expected, done.stderr
    return done.stdout
