"""What a dump says of finding and following faces, by cell: faces found, windows lost, tracks broken, box jitter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.manifest import ManifestEntry
from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.evaluation.audit.cells import Cell, Videos
from marlin_sdk.evaluation.audit.comparing import Better, GroupTable, compare, mean_scorer
from marlin_sdk.features import VideoFeatures

__all__ = ["DETECTION", "box_jitter", "detection_measures", "detection_table", "measure_video"]

DETECTION: dict[str, Better] = {
    "faces_found": "higher",
    "windows_lost": "lower",
    "tracks_broken": "lower",
    "box_jitter": "lower",
}
"""Share of the frames that show the face (those of lost windows do not); share of the windows without one; share of
consecutive windows between which the track changes; centre step / box size between consecutive frames."""


def detection_table(
    dump: FeatureDump,
    videos: Videos,
    cells: Sequence[Cell],
    *,
    draws: int = 2000,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> GroupTable:
    """Measure each video, then each cell as the mean of its videos.

    Args:
        dump: the dump; each video is read once.
        videos: from `read_videos`.
        cells: of the videos.
        draws: number of draws of subjects.
        seed: of the draws.
        progress: called with the number of videos read, and of all.
    Raises:
        FeatureFileError: a file of the dump cannot be read.
    """
    values = detection_measures(dump, videos, progress=progress)
    notes = []
    blind = int(np.isnan(values[:, 0]).sum())
    if blind:
        notes.append(f"in {blind} of {len(videos)} videos no face was searched for: cropped already, or empty")
    score = partial(mean_scorer, values, tuple(DETECTION))
    return compare("Finding faces", cells, videos.subjects, score, DETECTION, draws=draws, seed=seed, notes=notes)


def detection_measures(
    dump: FeatureDump, videos: Videos, *, progress: Callable[[int, int], None] = lambda done, total: None
) -> NDArray[np.float64]:
    """The four measures of `DETECTION` for each video, float64 (N, 4), NaN where not defined."""
    rows = []
    for done, id in enumerate(videos.ids, start=1):
        rows.append(measure_video(dump.entries[id], dump.get(id)))
        progress(done, len(videos))
    return np.array(rows, dtype=np.float64).reshape(-1, len(DETECTION))


def measure_video(entry: ManifestEntry, features: VideoFeatures | None) -> tuple[float, float, float, float]:
    """The four measures of a video; see `DETECTION`.

    Args:
        entry: of the manifest.
        features: None if no window shows a face.
    """
    windows = entry.rows + entry.skipped_windows
    if features is None or not len(features):
        lost = 1.0 if entry.status == "no_face" else np.nan
        return 1 - lost, lost, np.nan, np.nan
    if np.isnan(features.face_score).any():
        return np.nan, np.nan, np.nan, np.nan
    found = float((features.face_score > 0).mean()) * len(features) / (len(features) + len(features.skipped))
    lost = entry.skipped_windows / windows if windows else np.nan
    return found, lost, _tracks_broken(features), _window_jitter(features)


def _tracks_broken(features: VideoFeatures) -> float:
    """Share of consecutive windows that have no track in common."""
    tracks: dict[float, set[int]] = {}
    for start_s, track in zip(features.start_s.tolist(), features.track_id.tolist(), strict=True):
        tracks.setdefault(start_s, set()).add(track)
    ordered = [tracks[start_s] for start_s in sorted(tracks)]
    breaks = [not before & after for before, after in pairwise(ordered)]
    return float(np.mean(breaks)) if breaks else float("nan")


def _window_jitter(features: VideoFeatures) -> float:
    steps = [box_jitter(boxes, valid) for boxes, valid in zip(features.boxes, features.frame_valid, strict=True)]
    known = [step for step in steps if not np.isnan(step)]
    return float(np.mean(known)) if known else float("nan")


def box_jitter(boxes: NDArray[np.floating], valid: NDArray[np.bool_]) -> float:
    """Mean step of the centre between consecutive frames, as a share of the box's size; it includes true motion.

    Args:
        boxes: (T, 4), xyxy.
        valid: bool (T,), the frames that have a box.
    Returns:
        NaN without two consecutive boxes.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]).astype(np.float64) / 2
    sizes = np.sqrt(np.prod((boxes[:, 2:] - boxes[:, :2]).astype(np.float64), axis=1))
    both = valid[1:] & valid[:-1]
    if not both.any():
        return float("nan")
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)[both]
    return float(np.mean(steps / np.maximum((sizes[1:] + sizes[:-1])[both] / 2, 1e-9)))
