"""Measure a network on the tracks held out: offsets, and the confidence that another video's sound reaches."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.sync.curve import Reading, read_curve
from marlin_sdk.training.sync.data import SyncDataset, collate
from marlin_sdk.training.sync.learner import Learner

__all__ = ["measure"]

_BATCH = 8
_FALSE_SHARE = 0.05
_FRAME_MS = 40.0


def measure(learner: Learner, tracks: SyncDataset, *, most: int) -> dict[str, float]:
    """Numbers of the tracks held out, a track at a time.

    Args:
        learner: the network.
        tracks: not augmented, at least two.
        most: tracks to use.
    Returns:
        `within_1`, the share of tracks whose offset is found within a frame; `error_ms`, the median of its absolute
        error; `confidence` and `distance`, their medians; `other_distance`, below which one of 20 tracks comes with a
        sound of another, at another time; `loss`, minus the mean margin of the true sound over the others, in
        standard deviations of the curve.
    """
    found: list[NDArray[np.float64]] = []
    items = [tracks.load(index, 0) for index in range(min(most, tracks.num_clips))]
    starts = range(0, max(len(items) - 1, 1), _BATCH)  # a track alone at the end joins the batch before
    for first, end in zip(starts, [*starts[1:], len(items)], strict=True):
        found.extend(learner.evaluate(collate(items[first:end])).transpose(0, 1).double().cpu().numpy())
    own = [reading for curves in found if (reading := read_curve(curves[0])) is not None]
    others = [reading for curves in found for other in curves[1:] if (reading := read_curve(other)) is not None]
    errors_ms = np.abs([reading.offset_ms for reading in own])
    return {
        "loss": -float(np.mean([_margin(reading) for reading in own])),
        "within_1": float((errors_ms < 1.5 * _FRAME_MS).mean()),
        "error_ms": float(np.median(errors_ms)),
        "confidence": float(np.median([reading.confidence for reading in own])),
        "distance": float(np.median([reading.distance for reading in own])),
        "other_distance": float(np.quantile([reading.distance for reading in others], _FALSE_SHARE)),
    }


def _margin(reading: Reading) -> float:
    """How far the true shift lies below the curve's mean, in standard deviations."""
    curve = torch.tensor(reading.curve)
    curve = curve[curve.isfinite()]
    at = reading.curve[len(reading.curve) // 2]
    return float((curve.mean() - at) / curve.std().clamp_min(1e-6))
