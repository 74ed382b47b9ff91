"""What is to be learned: classes, several yes-or-no labels, or numbers, from one row of raw outputs a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.evaluation.probe.targets import Target

__all__ = ["Goal", "Objective", "Wanted"]

Goal = Literal["classes", "binary", "numbers"]


@dataclass(frozen=True)
class Wanted:
    """What the outputs of a batch should be.

    Attributes:
        values: float (B, O): the probability of each class; of "yes" for each label; or the standardised number.
        weights: float (B, L): how much each label of each clip counts; 0 where it is unknown.
    """

    values: Tensor
    weights: Tensor

    def mixed(self, order: Tensor, share: Tensor) -> Wanted:
        """Blend each clip with another one.

        Args:
            order: int64 (B,), the other clip of each.
            share: float (B,), of the clip itself.
        """
        own = share[:, None]
        known = (self.weights > 0) & (self.weights[order] > 0)
        weights = own * self.weights + (1 - own) * self.weights[order]
        return Wanted(own * self.values + (1 - own) * self.values[order], weights * known)


@dataclass(frozen=True, eq=False)
class Objective:
    """Targets as a loss.

    Attributes:
        goal: "classes" for one label of three classes or more, "binary" for labels of two, "numbers".
        names: of the labels.
        classes: of the labels; empty for numbers.
        shift: float32 (L, 2), mean and standard deviation of the training part's numbers.
        class_weights: float32 (L, K), all 1 if classes are not to be balanced.
        smoothing: share of a class's probability that is spread over all.
    """

    goal: Goal
    names: tuple[str, ...]
    classes: tuple[str, ...]
    shift: Tensor
    class_weights: Tensor
    smoothing: float

    @classmethod
    def of(cls, targets: Sequence[Target], train: NDArray[np.int64], *, balanced: bool, smoothing: float) -> Objective:
        """The objective of some targets, with frequencies and scales of the training part."""
        classes = targets[0].classes
        goal: Goal = "numbers" if not classes else "classes" if len(classes) > 2 else "binary"
        shift, weights = [], []
        for target in targets:
            known = target.values[train][target.labelled[train]]
            if not classes:
                shift.append([float(known.mean()), float(known.std()) or 1.0])
                weights.append([1.0])
                continue
            counts = np.bincount(known, minlength=len(classes))
            shift.append([0.0, 1.0])
            weights.append((len(known) / (len(classes) * counts)).tolist() if balanced else [1.0] * len(classes))
        names = tuple(target.name for target in targets)
        return cls(goal, names, classes, torch.tensor(shift), torch.tensor(weights), smoothing)

    @property
    def num_outputs(self) -> int:
        """Numbers that the head gives a clip."""
        return len(self.classes) if self.goal == "classes" else len(self.names)

    def wanted(self, values: Tensor, *, smooth: bool = True) -> Wanted:
        """What the outputs should be.

        Args:
            values: float (B, L), see `values_of`.
            smooth: spread a share over all classes.
        """
        known, filled = ~values.isnan(), values.nan_to_num(0.0)
        spread = self.smoothing if smooth else 0.0
        if self.goal == "numbers":
            mean, deviation = self.shift.to(values.device).unbind(1)
            return Wanted((filled - mean) / deviation, known.float())
        weights = self.class_weights.to(values.device)
        chosen = filled.long()
        weight = torch.gather(weights.expand(len(values), *weights.shape), 2, chosen[..., None])[..., 0] * known
        if self.goal == "binary":
            return Wanted(filled * (1 - spread) + spread / 2, weight)
        one_hot = F.one_hot(chosen[:, 0], len(self.classes)).float()
        return Wanted(one_hot * (1 - spread) + spread / len(self.classes), weight)

    def loss(self, raw: Tensor, wanted: Wanted) -> Tensor:
        """The mean over labels and clips, of weighted cross-entropy or squared errors.

        Args:
            raw: float (B, O).
            wanted: of the same clips.
        """
        raw = raw.float()
        if self.goal == "numbers":
            errors = (raw - wanted.values).square()
        elif self.goal == "binary":
            errors = F.binary_cross_entropy_with_logits(raw, wanted.values, reduction="none")
        else:
            errors = -(wanted.values * raw.log_softmax(dim=1)).sum(dim=1, keepdim=True)
        counted = (wanted.weights > 0).sum().clamp(min=1)
        return (errors * wanted.weights).sum() / counted

    def scores(self, raw: Tensor) -> list[NDArray[np.float64]]:
        """For each label (N, K), the probability of each class; or (N, 1), the number."""
        found = raw.detach().double().cpu()
        if self.goal == "classes":
            return [found.softmax(dim=1).numpy()]
        if self.goal == "binary":
            yes = found.sigmoid()
            return [torch.stack([1 - column, column], dim=1).numpy() for column in yes.T]
        return [
            (found[:, [index]] * float(self.shift[index, 1]) + float(self.shift[index, 0])).numpy()
            for index in range(len(self.names))
        ]
