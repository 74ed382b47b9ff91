"""Projection of the windows of a dump to two dimensions."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import MissingExtraError
from marlin_sdk.features import VideoFeatures
from marlin_sdk.report.details import row_vectors

__all__ = ["Point", "Projection", "VectorPool"]

MAX_POINTS = 3000
"""Maximum number of points in the page."""

_MAX_ROWS = 100  # per video; 200 videos of 768 dims take 60 MB


@dataclass(frozen=True)
class Point:
    """A window.

    Attributes:
        video: index of its video in the page.
        x: first component, scaled to [0, 1].
        y: second component, scaled to [0, 1], upwards.
        start_s: start of the window.
        end_s: end of the window.
        track_id: its face track.
    """

    video: int
    x: float
    y: float
    start_s: float
    end_s: float
    track_id: int


@dataclass(frozen=True)
class Projection:
    """Windows projected on their first two principal components.

    Attributes:
        points: at most 3,000, by video, then by track and time.
        explained: share of the variance along x and along y.
        num_fitted: number of windows that the components were fitted to.
    """

    points: tuple[Point, ...]
    explained: tuple[float, float]
    num_fitted: int


@dataclass
class VectorPool:
    """Collects windows of many videos, at most a hundred per video, spread over its time."""

    _vectors: list[NDArray[np.float32]] = field(default_factory=list)
    _places: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, video: int, features: VideoFeatures) -> None:
        """Add windows of a video.

        Args:
            video: index of the video in the page.
            features: features of the video.
        """
        vectors = row_vectors(features)
        if not len(features) or not vectors.size or (self._vectors and vectors.shape[1] != self._vectors[0].shape[1]):
            return
        if len(vectors) == len(features):
            order = np.lexsort((features.start_s, features.track_id))
            places = np.stack([features.start_s, features.end_s, features.track_id], axis=1)[order]
            vectors = vectors[order]
        else:  # reduced: one vector for the whole video
            places = np.array([[features.start_s.min(), features.end_s.max(), features.track_id[0]]])
        usable = np.flatnonzero(~np.isnan(vectors[:, 0]) & np.isfinite(places).all(axis=1))
        chosen = usable[_spread(len(usable), _MAX_ROWS)]
        if len(chosen):
            self._vectors.append(vectors[chosen])
            self._places.append(np.column_stack([np.full(len(chosen), video), places[chosen]]))

    def project(self, *, seed: int) -> Projection | None:
        """Project the windows on their first two principal components.

        Args:
            seed: random seed of the solver.
        Returns:
            None if there are fewer than three windows, or all are the same.
        Raises:
            MissingExtraError: scikit-learn is not installed.
        """
        try:
            from sklearn.decomposition import PCA
        except ImportError as error:
            raise MissingExtraError("marlin-sdk report", "report") from error
        if sum(map(len, self._vectors)) < 3 or self._vectors[0].shape[1] < 2:
            return None
        vectors = np.concatenate(self._vectors).astype(np.float64)
        if not np.ptp(vectors, axis=0).max() > 0:
            return None
        pca = PCA(n_components=2, random_state=seed)
        flat = pca.fit_transform(vectors)
        low, span = flat.min(axis=0), np.maximum(np.ptp(flat, axis=0), np.finfo(np.float64).tiny)
        scaled = (flat - low) / span
        share = max(1, MAX_POINTS // len(self._vectors))
        points, offset = [], 0
        for places in self._places:
            for row in _spread(len(places), share).tolist():
                x, y = scaled[offset + row].tolist()
                video, start_s, end_s, track = places[row].tolist()
                points.append(Point(int(video), x, y, start_s, end_s, int(track)))
            offset += len(places)
        first, second = pca.explained_variance_ratio_.tolist()
        return Projection(tuple(points[:MAX_POINTS]), (first, second), len(vectors))


def _spread(count: int, limit: int) -> NDArray[np.int64]:
    """At most `limit` of `count` indices, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).round().astype(np.int64)) if count else np.arange(0)
