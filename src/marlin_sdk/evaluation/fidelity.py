"""How well a faster path keeps what features tell apart: errors after the mean is taken away.

Cosine hides errors. Two windows of one face have a cosine of 0.9999, since they share most of their feature: a path at
a cosine of 0.9996 may have lost all that differs within a video.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlin_sdk.errors import ShapeError

__all__ = ["Fidelity", "fidelity"]


@dataclass(frozen=True)
class Fidelity:
    """Agreement of two features of the same windows.

    R2 is 1 - |d|^2 / |f|^2, where f are the reference's features and d the differences of the other's, each with its
    own mean taken away: 1 is perfect, 0 is no better than the mean, below it is worse.

    Attributes:
        r2_within: after each video's mean is taken away; None where no video has two different windows.
        r2_across: of the means of the videos, after their mean is taken away; None for one video.
        neighbours: share of windows whose nearest other window (by Euclidean distance) is the same; None below three.
        cosine: the least cosine of a window, for comparison only.
        windows: number of windows.
        videos: number of videos.
    """

    r2_within: float | None
    r2_across: float | None
    neighbours: float | None
    cosine: float
    windows: int
    videos: int

    def __str__(self) -> str:
        parts = (("within videos", self.r2_within), ("across videos", self.r2_across), ("neighbours", self.neighbours))
        said = ", ".join(f"{name} {value:.4f}" for name, value in parts if value is not None)
        return f"R2 {said}; least cosine {self.cosine:.6f}; {self.windows} windows of {self.videos} videos"


def fidelity(features: ArrayLike, reference: ArrayLike, *, videos: ArrayLike | None = None) -> Fidelity:
    """Compare features of the same windows, such as those of a faster path and of float32.

    Args:
        features: (N, ...), a row a window; further dimensions are joined.
        reference: (N, ...), of the same shape.
        videos: (N,), the video of each window; by default all are of one.
    Raises:
        ShapeError: other shapes, no window, or values that are not finite.
    """
    theirs = np.asarray(features, dtype=np.float64)
    ours = np.asarray(reference, dtype=np.float64)
    if theirs.shape != ours.shape or theirs.ndim < 2 or not theirs.size:
        raise ShapeError(f"features of shape {theirs.shape} and {ours.shape}; expected the same, (N, ...) with N > 0")
    theirs, ours = theirs.reshape(len(theirs), -1), ours.reshape(len(ours), -1)
    if not (np.isfinite(theirs).all() and np.isfinite(ours).all()):
        raise ShapeError("features hold NaN or infinity")
    names = np.zeros(len(ours), np.int64) if videos is None else np.asarray(videos)
    if names.shape != (len(ours),):
        raise ShapeError(f"videos has shape {names.shape}; expected ({len(ours)},), the video of each window")
    _, of = np.unique(names, return_inverse=True)
    counts = np.bincount(of)
    means = [_means(rows, of, counts) for rows in (theirs, ours)]
    lengths = np.linalg.norm(theirs, axis=1) * np.linalg.norm(ours, axis=1)
    cosines = (theirs * ours).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny)
    return Fidelity(
        r2_within=_r2(theirs - means[0][of], ours - means[1][of]),
        r2_across=_r2(means[0] - means[0].mean(axis=0), means[1] - means[1].mean(axis=0)),
        neighbours=_same_neighbours(theirs, ours),
        cosine=float(cosines.min()),
        windows=len(ours),
        videos=len(counts),
    )


def _means(rows: NDArray[np.float64], of: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    sums = np.zeros((len(counts), rows.shape[1]))
    np.add.at(sums, of, rows)
    return sums / counts[:, None]


def _r2(centred: NDArray[np.float64], reference: NDArray[np.float64]) -> float | None:
    total = float((reference**2).sum())
    scale = float(np.abs(reference).max(initial=0.0))
    if scale < 1e-9:  # rounding of equal rows is no difference
        return None
    return 1 - float(((centred - reference) ** 2).sum()) / total


def _same_neighbours(theirs: NDArray[np.float64], ours: NDArray[np.float64]) -> float | None:
    if len(ours) < 3:
        return None
    same = 0
    shifted = [rows - rows.mean(axis=0) for rows in (theirs, ours)]  # differences of large numbers lose digits
    squares = [(rows**2).sum(axis=1) for rows in shifted]
    for begin in range(0, len(ours), 1024):
        nearest = []
        for rows, square in zip(shifted, squares, strict=True):
            block = square[None] - 2 * rows[begin : begin + 1024] @ rows.T
            block[np.arange(len(block)), np.arange(begin, begin + len(block))] = np.inf
            nearest.append(block.argmin(axis=1))
        same += int((nearest[0] == nearest[1]).sum())
    return same / len(ours)
