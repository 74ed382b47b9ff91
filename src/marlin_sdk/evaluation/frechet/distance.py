"""The Fréchet distance of the Gaussians of two sets of features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from marlin_sdk.errors import ShapeError

__all__ = ["Distance", "frechet_distance"]


@dataclass(frozen=True)
class Distance:
    """A squared Fréchet distance, in the square of the features' unit, as FID is.

    Attributes:
        means: |m_a - m_b|^2.
        covariances: Tr(C_a + C_b - 2 (C_a C_b)^(1/2)).
    """

    means: float
    covariances: float

    @property
    def value(self) -> float:
        """Their sum."""
        return self.means + self.covariances


def frechet_distance(
    a: ArrayLike, b: ArrayLike, *, counts_a: ArrayLike | None = None, counts_b: ArrayLike | None = None
) -> Distance:
    """The squared Fréchet distance between the Gaussians that have the means and covariances of two sets.

    With the centred rows of a set as X, divided by the root of their number less one, its covariance is X'X. The trace
    of the root of the product of two such covariances is the sum of the singular values of X_a X_b'. So no root of a
    matrix is taken, nothing is added to a diagonal, and fewer rows than dimensions are exact as well (Heusel et al.,
    2017, have the definition; it is Dowson and Landau's of 1982).

    Args:
        a: (N, D), a row a window or frame.
        b: (M, D).
        counts_a: (N,), how often each row counts; once by default.
        counts_b: (M,).
    Returns:
        The distance; computed in float64.
    Raises:
        ShapeError: other shapes, fewer than two rows, or values that are not finite.
    """
    rows_a, rows_b = _rows("a", a), _rows("b", b)
    if rows_a.shape[1] != rows_b.shape[1]:
        raise ShapeError(f"a has {rows_a.shape[1]} features a row, b {rows_b.shape[1]}; expected as many")
    mean_a, factor_a = _gaussian(rows_a, counts_a)
    mean_b, factor_b = _gaussian(rows_b, counts_b)
    common = np.linalg.svd(factor_a @ factor_b.T, compute_uv=False).sum()
    apart = float((factor_a**2).sum() + (factor_b**2).sum() - 2 * common)
    return Distance(means=float(((mean_a - mean_b) ** 2).sum()), covariances=max(apart, 0.0))  # rounding goes below 0


def _rows(name: str, values: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(values, dtype=np.float64)
    if rows.ndim != 2 or not rows.shape[1]:
        raise ShapeError(f"{name} has shape {rows.shape}; expected (N, D), a row a window or frame")
    if not np.isfinite(rows).all():
        raise ShapeError(f"{name} holds NaN or infinity")
    return rows


def _gaussian(rows: NDArray[np.float64], counts: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean [D], and a factor F [at most D, D] of the covariance F'F."""
    weights = np.ones(len(rows)) if counts is None else np.asarray(counts, dtype=np.float64)
    if weights.shape != (len(rows),):
        raise ShapeError(f"counts have shape {weights.shape}; expected ({len(rows)},), one for each row")
    rows, weights = rows[weights > 0], weights[weights > 0]
    total = float(weights.sum())
    if total < 2:
        raise ShapeError(f"{total:g} rows; a covariance needs at least two")
    mean = weights @ rows / total
    centred = (rows - mean) * np.sqrt(weights / (total - 1))[:, None]
    # the triangle of a QR has the same covariance, whose entries need not be squared for it
    if len(centred) > centred.shape[1]:
        centred = np.asarray(np.linalg.qr(centred, mode="r"))
    return mean, centred
