"""Validation on held-out clips, with masks that are fixed for a whole run, beside baselines without a model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from marlin_sdk.reconstruction import compose, contact_sheet
from marlin_sdk.training.pretrain.baselines import (
    mean_face,
    mean_face_tubelets,
    moving_tubelets,
    still_face_tubelets,
    sum_frames,
)
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.learner import Batch, Learner
from marlin_sdk.training.pretrain.losses import masked_tubelets, normalise_tubelets
from marlin_sdk.training.pretrain.stream import (
    collate,
    first_clips,
    masks_for,
    too_few_clips,
)
from marlin_sdk.training.strategy import gather, total
from marlin_sdk.training.stream import Dataset, seed_of

if TYPE_CHECKING:
    from lightning.fabric import Fabric

__all__ = ["MEAN_FACE_CLIPS", "HeldOut"]

MEAN_FACE_CLIPS = 64
"""The training clips whose mean is the mean face: the first ones of epoch 0, divided between the processes."""

_MAX_PICTURED_CLIPS = 4
_MASK_EPOCH = 2**31  # the epoch in the seeds of the masks; no training run reaches it


class HeldOut:
    """Held-out clips, in memory, and the errors of baselines on them, which are constants of a run.

    All processes evaluate the same number of batches, blank ones if necessary: sharded weights require it.

    Args:
        dataset: yields the clips, the same in each run; None for no clips.
        train: the training clips, for the mean face; read, and left at epoch 0, only if there are held-out clips.
        config: their number and masking.
        fabric: launched.
    Raises:
        TrainingError: there are held-out clips, but no training clips.
        ShapeError: a training clip does not fit the model.
    """

    def __init__(self, dataset: Dataset | None, train: Dataset, config: PretrainConfig, fabric: Fabric) -> None:
        self._config, self._fabric = config, fabric
        self._batches: list[Batch] = []
        if dataset is not None:
            clips = cast("IterableDataset[Mapping[str, Any]]", dataset)
            loader = DataLoader(clips, batch_size=config.batch_size, collate_fn=collate)
            num_clips = 0
            for items in islice(loader, math.ceil(config.val_clips / config.batch_size)):
                indices = range(num_clips, num_clips + len(items["clip"]))
                seeds = [seed_of(config.seed, _MASK_EPOCH, fabric.global_rank, index) for index in indices]
                self._batches.append(Batch(items["clip"], masks_for(items, config, seeds)))
                num_clips = indices.stop
        self._num_batches = max(count for (count,) in gather([len(self._batches)]))
        self._moving: list[Tensor] = []
        self._baselines: dict[str, float] = {}
        if self:
            self._measure_baselines(self._mean_face(train))

    def __bool__(self) -> bool:
        """Whether any process has a clip."""
        return self._num_batches > 0

    def metrics(self, learner: Learner) -> dict[str, float]:
        """The errors of the model and of the baselines on all clips of all processes, in the terms of the loss.

        Returns:
            "reconstruction" of the model, "mean_face" and "still_face" of the baselines (see `baselines`), over all
            masked tubelets; the same with "_moving" over the moving parts, left out if nothing moves in any clip.
        """
        sums = torch.zeros(4, device=self._fabric.device, dtype=torch.float64)
        for index in range(self._num_batches):
            errors = learner.evaluate(self._batch(index))
            if index < len(self._batches):
                sums += _sums(errors, self._moving[index])
        found = {**_means("reconstruction", total(sums)), **self._baselines}
        return dict(sorted(found.items(), key=lambda item: item[0].endswith("_moving")))

    def picture(self, learner: Learner) -> NDArray[np.uint8]:
        """A contact sheet of the first batch: its clips, masked and reconstructed, uint8 (H, W, 3)."""
        batch, model = self._batch(0), self._config.model
        predicted = learner.reconstruct(batch).cpu()
        clips, mask = batch.pixels(torch.device("cpu"))
        result = compose(clips, mask, predicted, model, normalised_target=self._config.normalise_target)
        shown = [result[index] for index in range(min(_MAX_PICTURED_CLIPS, len(clips)))]
        return contact_sheet(shown, model, frames=(0,))

    def _mean_face(self, train: Dataset) -> Tensor:
        share = math.ceil(MEAN_FACE_CLIPS / self._fabric.world_size)
        frames = total(sum_frames(first_clips(train, share), self._config.model).to(self._fabric.device)).cpu()
        if not frames[-1]:
            raise too_few_clips(self._config)
        return mean_face(frames, self._config.model)

    def _measure_baselines(self, face: Tensor) -> None:
        """On the CPU, clip by clip: a batch of clips in floats may not fit beside the model."""
        model, device = self._config.model, self._fabric.device
        sums = {name: torch.zeros(4, device=device, dtype=torch.float64) for name in ("mean_face", "still_face")}
        for batch in self._batches:
            moving = []
            for index in range(len(batch.clips)):
                one = Batch(batch.clips[index : index + 1], batch.mask[index : index + 1])
                pixels, mask = one.pixels(torch.device("cpu"))
                target = self._in_terms_of_loss(masked_tubelets(pixels, mask, model))
                moving.append(moving_tubelets(pixels, mask, model).to(device))
                filled = {
                    "mean_face": mean_face_tubelets(face, mask, model),
                    "still_face": still_face_tubelets(pixels, mask, face, model),
                }
                for name, tubelets in filled.items():
                    errors = (self._in_terms_of_loss(tubelets) - target).square().mean(dim=2).to(device)
                    sums[name] += _sums(errors, moving[-1])
            self._moving.append(torch.cat(moving))
        for name, added in sums.items():
            self._baselines.update(_means(name, total(added)))

    def _in_terms_of_loss(self, tubelets: Tensor) -> Tensor:
        """Baselines are normalised by their own mean and deviation: those of the hidden tubelets are not known."""
        return normalise_tubelets(tubelets) if self._config.normalise_target else tubelets

    def _batch(self, index: int) -> Batch:
        if index < len(self._batches):
            return self._batches[index]
        channels, time, height, width = self._config.model.clip_shape
        mask = torch.zeros(1, self._config.model.num_tokens, dtype=torch.bool)
        mask[:, : self._config.num_visible] = True
        return Batch(torch.zeros(1, time, height, width, channels, dtype=torch.uint8), mask)


def _sums(errors: Tensor, moving: Tensor) -> Tensor:
    """The sum and number of errors (B, masked), and of those of the moving parts: float64 (4,)."""
    selected = errors[moving].double()
    counts = torch.tensor([errors.numel(), selected.numel()], device=errors.device, dtype=torch.float64)
    return torch.stack([errors.double().sum(), counts[0], selected.sum(), counts[1]])


def _means(name: str, sums: Tensor) -> dict[str, float]:
    """The mean errors by name; that of the moving parts only if there are any."""
    means = {name: float(sums[0] / sums[1])}
    return {**means, f"{name}_moving": float(sums[2] / sums[3])} if sums[3] else means
