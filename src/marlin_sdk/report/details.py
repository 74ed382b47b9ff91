"""Details of one video: its faces over time, and the similarity of its windows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.features import VideoFeatures

__all__ = ["Similarity", "Span", "Timeline", "Track", "draw_timeline", "measure_similarity", "row_vectors"]

TIMELINE_WIDTH = 1000
"""Length of a timeline, in the units of `Span`."""

_NUM_BINS = 200  # bins of a timeline, which bound its size in the page
_LEVELS = 4
_MAX_TRACKS = 6
_MAX_CELLS = 64  # per side of the heat map; windows of longer videos are averaged


@dataclass(frozen=True)
class Span:
    """A segment of a timeline.

    Attributes:
        start: its start, from 0 to `TIMELINE_WIDTH`.
        width: its width, in the same unit.
        level: share of frames that show the face, from 1 (up to a quarter) to 4 (over three quarters).
    """

    start: int
    width: int
    level: int


@dataclass(frozen=True)
class Track:
    """When a face is visible.

    Attributes:
        track_id: its face track; -1 if nothing was cropped.
        spans: in order of time.
    """

    track_id: int
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Timeline:
    """Faces over the time of a video.

    Attributes:
        start_s: the left end, in seconds of the video.
        end_s: the right end.
        tracks: the six that are visible longest, by number.
        num_tracks: number of all tracks.
        skipped: where windows were skipped.
        covered: share of the time in which an embedded window shows a face, in [0, 1].
    """

    start_s: float
    end_s: float
    tracks: tuple[Track, ...]
    num_tracks: int
    skipped: tuple[Span, ...]
    covered: float


@dataclass(frozen=True)
class Similarity:
    """Cosine similarity of each pair of windows.

    Attributes:
        cosines: float32 (n, n), n at most 64, by track and then by time; longer videos are averaged along time.
        lowest: lowest value of all pairs shown.
        neighbours: mean over adjacent windows; NaN if there is only one window.
    """

    cosines: NDArray[np.float32]
    lowest: float
    neighbours: float


def draw_timeline(features: VideoFeatures, duration_s: float | None) -> Timeline | None:
    """Arrange windows along the time of a video.

    Args:
        features: features with rows, skipped windows, or both.
        duration_s: duration of the part that was read, if known.
    Returns:
        None if there is no window at all, or the times are not finite.
    """
    starts = np.concatenate([features.start_s, [window.start_s for window in features.skipped]])
    ends = np.concatenate([features.end_s, [window.end_s for window in features.skipped]])
    if not len(starts) or not np.isfinite([starts, ends]).all():
        return None
    ends = _bridged(starts, ends)
    first_s, last_s = float(starts.min()), float(max(ends.max(), starts.min() + (duration_s or 0.0)))
    if not last_s > first_s:
        return None
    scale = _NUM_BINS / (last_s - first_s)
    left = np.clip(np.floor((starts - first_s) * scale + 1e-6), 0, _NUM_BINS - 1).astype(int)
    right = np.clip(np.ceil((ends - first_s) * scale - 1e-6), left + 1, _NUM_BINS).astype(int)
    shares = features.frame_valid.mean(axis=1) if features.frame_valid.size else np.zeros(0)
    coverage: dict[int, NDArray[np.float64]] = {}
    for row, track in enumerate(features.track_id.tolist()):
        line = coverage.setdefault(track, np.zeros(_NUM_BINS))
        line[left[row] : right[row]] = np.maximum(line[left[row] : right[row]], shares[row])
    skipped = np.zeros(_NUM_BINS)
    for row in range(len(features), len(starts)):
        skipped[left[row] : right[row]] = 1
    longest = sorted(coverage, key=lambda track: -coverage[track].sum())[:_MAX_TRACKS]
    seen = np.max(list(coverage.values()), axis=0, initial=0) if coverage else np.zeros(_NUM_BINS)
    skipped[np.asarray(seen) > 0] = 0
    return Timeline(
        first_s,
        last_s,
        tuple(Track(track, _spans(coverage[track])) for track in sorted(longest)),
        len(coverage),
        _spans(skipped),
        float((np.asarray(seen) > 0).mean()),
    )


def _bridged(starts: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
    """The ends, each moved to the start of the next window if the gap is no more than the frames between two steps."""
    known = np.unique(starts)
    following = known[np.minimum(np.searchsorted(known, ends - 1e-9), len(known) - 1)]
    apart = following - ends
    return np.where((apart > 0) & (apart <= (ends - starts) / 8), following, ends)


def _spans(shares: NDArray[np.float64]) -> tuple[Span, ...]:
    levels = np.ceil(np.clip(shares, 0, 1) * _LEVELS).astype(int)
    edges = np.flatnonzero(np.diff(levels, prepend=-1, append=-1))
    unit = TIMELINE_WIDTH // _NUM_BINS
    return tuple(
        Span(start * unit, (end - start) * unit, int(levels[start]))
        for start, end in pairwise(edges.tolist())
        if levels[start]
    )


def row_vectors(features: VideoFeatures) -> NDArray[np.float32]:
    """One vector per window: its feature, or the mean of its tokens, slices or regions; one for all if reduced.

    Returns:
        float32 (n, D); rows that hold NaN or infinity are NaN throughout.
    """
    values = features.features
    if features.is_reduced:
        vectors = values.reshape(-1, values.shape[-1]).mean(axis=0, keepdims=True)
    else:
        vectors = values.mean(axis=1) if values.ndim == 3 else values
    vectors = np.array(vectors, dtype=np.float32)
    vectors[~np.isfinite(vectors).all(axis=1)] = np.nan
    return vectors


def measure_similarity(features: VideoFeatures) -> Similarity | None:
    """Compare the windows of a video.

    Returns:
        None if there are fewer than two windows to compare.
    """
    vectors = row_vectors(features)
    if len(vectors) != len(features):
        return None  # reduced: one vector for all
    order = np.lexsort((features.start_s, features.track_id))
    vectors = vectors[order]
    vectors = vectors[~np.isnan(vectors[:, 0])] if vectors.size else vectors
    if len(vectors) < 2:
        return None
    if len(vectors) > _MAX_CELLS:
        vectors = np.stack([part.mean(axis=0) for part in np.array_split(vectors, _MAX_CELLS)])
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    cosines = np.clip(units @ units.T, -1, 1).astype(np.float32)
    return Similarity(cosines, float(cosines.min()), float(np.diagonal(cosines, offset=1).mean()))
