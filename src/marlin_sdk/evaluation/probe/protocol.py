"""The linear probe of MARLIN's published code, one label at a time."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe.heads import LinearHead

if TYPE_CHECKING:
    from marlin_sdk.evaluation.probe.heads import Training

__all__ = ["UNSOUND", "fit_marlin"]

UNSOUND = (
    "MARLIN's protocol: a smaller share of the data is the head of a listing there, neither drawn nor stratified, and "
    "of the validation part too; here shares are drawn by group",
    "MARLIN's protocol: a video without a face is a row of zeros there, and crops are not smoothed; here such a video "
    "has no features and is named",
    "MARLIN's protocol: its split takes the first 80, 10 and 10 % of an unsorted listing, with clips of one video on "
    "both sides; here the split of the table, or folds, are used instead",
    "MARLIN's protocol: the learning rate follows the training loss, and features are not standardised, so that it "
    "depends on their scale how far the training gets",
    "MARLIN's protocol: accuracy and AUC are micro, over all clips and attributes at once, so that rare attributes "
    "make 'none of them' strong; see the row of the constant, and macro",
)
"""What is unsound in the protocol, in words."""

_RATE, _BETAS = 1e-4, (0.5, 0.9)
_BATCH, _EPOCHS = 32, 2000
_PATIENCE, _FACTOR, _LAST_RATE = 7, 0.5, 1e-6


def fit_marlin(training: Training) -> LinearHead:
    """One linear layer, trained with Adam (1e-4, betas .5 and .9, batches of 32) on binary cross-entropy.

    The published code trains all attributes in one layer, with one schedule and one best epoch for all; here each label
    has its own.

    The rate is halved when the training loss has rested for 7 epochs; training stops at 1e-6, or after 2,000 epochs;
    the best epoch by validation AUC is taken, the validation part being the first inner fold.

    Args:
        training: means of windows and a binary label.
    Raises:
        ConfigError: a label of other than two classes, or too few groups for a validation part.
    """
    import torch
    from sklearn.metrics import roc_auc_score
    from torch.nn import functional

    if len(training.classes) != 2:
        raise ConfigError(
            f"MARLIN's protocol is for labels of two classes; this one has {len(training.classes) or 'numbers'}"
        )
    if not training.inner:
        raise ConfigError("MARLIN's protocol needs a validation part, and a class has too few groups to divide")
    fit, held = training.inner[0]
    random = np.random.default_rng(training.seed)
    rows, values = torch.from_numpy(training.features), torch.from_numpy(training.values).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        layer = torch.nn.Linear(rows.shape[1], 1)
        optimizer = torch.optim.Adam(layer.parameters(), lr=_RATE, betas=_BETAS)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=_FACTOR, patience=_PATIENCE)
        best, state = -1.0, copy.deepcopy(layer.state_dict())
        for _ in range(_EPOCHS):
            total = 0.0
            order = random.permutation(fit)
            for begin in range(0, len(order), _BATCH):
                some = order[begin : begin + _BATCH]
                loss = functional.binary_cross_entropy_with_logits(layer(rows[some])[:, 0], values[some])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += float(loss.detach()) * len(some)
            with torch.no_grad():
                area = float(roc_auc_score(training.values[held], layer(rows[held])[:, 0].numpy()))
            if area > best:
                best, state = area, copy.deepcopy(layer.state_dict())
            schedule.step(total / len(order))
            if optimizer.param_groups[0]["lr"] <= _LAST_RATE:
                break
    width = rows.shape[1]
    weight, bias = (state[name].numpy().astype(np.float64) for name in ("weight", "bias"))
    return LinearHead(training.classes, np.zeros(width), np.ones(width), weight, bias, 0.0)
