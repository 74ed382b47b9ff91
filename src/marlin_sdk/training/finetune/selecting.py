"""What the network says of the validation part, and which weights are the best by it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from marlin_sdk.training.finetune.features import WindowRows
from marlin_sdk.training.finetune.objective import Objective

__all__ = ["Selection", "raw_outputs", "validate"]


@dataclass
class Selection:
    """The best weights so far.

    Attributes:
        best: the smallest loss on the validation part; minus the AUC in MARLIN's protocol.
        best_epoch: epochs until then.
        rested: epochs since then.
        measured: what was found then.
        step: steps done.
    """

    best: float = math.inf
    best_epoch: int = 0
    rested: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    step: int = 0

    def add(self, epoch: int, measured: dict[str, float], *, by_auc: bool) -> bool:
        """Count an epoch; returns whether it was the best."""
        value = -measured["auc"] if by_auc else measured["loss"]
        if value < self.best:
            self.best, self.best_epoch, self.rested, self.measured = value, epoch, 0, measured
            return True
        self.rested += 1
        return False


@torch.no_grad()
def raw_outputs(head: nn.Module, rows: WindowRows, clips: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
    """The head's outputs of some clips, float32 (N, O) on the CPU; those clips, without any that have no features."""
    device = next(head.parameters()).device
    head.eval()
    kept, batches = rows.batches(clips)
    return kept, torch.cat([head(windows.to(device), mask.to(device)).float().cpu() for windows, mask in batches])


def validate(objective: Objective, raw: Tensor, values: Tensor) -> dict[str, float]:
    """How good outputs are.

    Args:
        objective: what is learned.
        raw: float (N, O).
        values: float (N, L), the labels.
    Returns:
        "loss", without smoothing; and by the kind of labels "balanced_accuracy", "auc" (the mean over labels) or "ccc".
    """
    measured = {"loss": float(objective.loss(raw, objective.wanted(values, smooth=False)))}
    found: dict[str, list[float]] = {}
    for label, scores in enumerate(objective.scores(raw)):
        known = ~values[:, label].isnan().numpy()
        truth = values[:, label].numpy()[known]
        if objective.goal == "numbers":
            found.setdefault("ccc", []).append(_ccc(truth, scores[known, 0]))
            continue
        chosen = scores[known].argmax(axis=1)
        right = [float((chosen[truth == one] == one).mean()) for one in np.unique(truth)]
        found.setdefault("balanced_accuracy", []).append(float(np.mean(right)))
        if objective.goal == "binary" and len(right) == 2:
            found.setdefault("auc", []).append(_auc(truth > 0, scores[known, 1]))
    measured |= {name: float(np.mean(parts)) for name, parts in found.items()}
    return {"auc": 0.5, **measured} if objective.goal == "binary" else measured


def _auc(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """The chance that a positive has a higher score than a negative one."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, scores))


def _ccc(truth: NDArray[np.float32], said: NDArray[np.float64]) -> float:
    """Lin's concordance correlation."""
    both = np.cov(truth, said, bias=True)
    return float(2 * both[0, 1] / max(both[0, 0] + both[1, 1] + (truth.mean() - said.mean()) ** 2, 1e-12))
