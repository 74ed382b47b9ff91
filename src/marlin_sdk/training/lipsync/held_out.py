"""Measure a network on the tracks held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.lipsync.mouth import mouth_of
from marlin_sdk.training.sync.data import collate

if TYPE_CHECKING:
    from marlin_sdk.training.lipsync.data import LipsDataset
    from marlin_sdk.training.lipsync.learner import Learner

__all__ = ["measure"]

_BATCH = 8
_SHOWN = 4  # tracks in the picture
_SHOWN_FRAMES = 8


def measure(learner: Learner, tracks: LipsDataset, *, most: int) -> tuple[dict[str, float], NDArray[np.uint8]]:
    """Numbers of the tracks held out, and a picture of some.

    Args:
        learner: the network.
        tracks: not at random.
        most: tracks to use.
    Returns:
        `mouth`, the mean absolute error of the mouth, of 1; `reference_mouth`, that of the reference's mouth instead;
        `sync`, the loss of the synchronisation model, if there is one; `loss`, of the halves that are made, with
        the synchronisation model's by its weight. And uint8 (H, W, 3): true faces above made ones.
    """
    config = learner.config
    errors: list[torch.Tensor] = []
    kept: list[torch.Tensor] = []
    for first in range(0, min(most, tracks.num_clips), _BATCH):
        items = [tracks.load(index, 0) for index in range(first, min(most, tracks.num_clips, first + _BATCH))]
        true, made, sync = learner.make(collate(items))
        reference = true.roll(1, 1)
        numbers = [(mouth_of(a) - mouth_of(true)).abs().mean() for a in (made, reference)]
        numbers += [2 * (made - true).abs().mean(), torch.zeros(()) if sync is None else sync]
        errors += [torch.stack([number.float().cpu() for number in numbers])] * len(items)
        kept += [torch.cat([true[:, 0], made[:, 0]], dim=-2).cpu()] if len(kept) * _BATCH < _SHOWN else []
    mouth, reference_mouth, pixels, in_time = torch.stack(errors).mean(0).tolist()
    found = {"mouth": mouth, "reference_mouth": reference_mouth}
    weight = config.sync_weight if learner.judge is not None else 0.0
    if learner.judge is not None:
        found["sync"] = in_time
    return {**found, "loss": (1 - weight) * pixels + weight * in_time}, _picture(torch.cat(kept)[:_SHOWN])


def _picture(pairs: torch.Tensor) -> NDArray[np.uint8]:
    """Every second frame of windows (N, 3, 16, 2 S, S), a window a row."""
    shown = pairs[:, :, :: max(1, pairs.shape[2] // _SHOWN_FRAMES)]
    grid = shown.permute(0, 3, 2, 4, 1).flatten(0, 1).flatten(1, 2)
    return np.asarray((grid.clamp(0, 1) * 255).round().byte().numpy())
