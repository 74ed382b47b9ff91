"""The linear probe of MARLIN's published code: all labels in one layer."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.probe.heads import LinearHead
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.probe.targets import Target

__all__ = ["UNSOUND", "check_marlin", "fit_marlin"]

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


def check_marlin(targets: Sequence[Target]) -> None:
    """Refuse labels that the protocol is not for.

    Raises:
        ConfigError: a label of other than two classes.
    """
    if wrong := next((target for target in targets if len(target.classes) != 2), None):
        raise ConfigError(
            f"MARLIN's protocol is for labels of two classes; {wrong.name!r} has {len(wrong.classes) or 'numbers'}"
        )


def fit_marlin(
    samples: Samples,
    targets: Sequence[Target],
    train: NDArray[np.int64],
    validation: NDArray[np.int64] | None,
    *,
    seed: int = 0,
    shuffled: bool = False,
) -> list[LinearHead]:
    """One linear layer for all labels, trained with Adam (1e-4, betas .5 and .9, batches of 32) on their cross-entropy.

    The rate is halved when the training loss has rested for 7 epochs; training stops at 1e-6, or after 2,000 epochs;
    the best epoch is taken, by the AUC over all videos and labels of the validation part at once.

    Args:
        samples: means of windows, or windows.
        targets: labels of two classes, which all rows below have.
        train: rows of the training part.
        validation: rows of the validation part; None takes a tenth of the groups of the training part.
        seed: of the first weights, of the order, and of that tenth.
        shuffled: learn from the labels of other rows.
    Returns:
        A head for each label.
    Raises:
        ConfigError: no validation part, and one group only.
    """
    import torch
    from sklearn.metrics import roc_auc_score
    from torch.nn import functional

    if validation is None:
        train, validation = _tenth(samples, train, seed)
    random = np.random.default_rng(seed)
    classes = np.stack([target.values for target in targets], axis=1)
    rows = torch.from_numpy(samples.features[train])
    values = torch.from_numpy(classes[random.permutation(train) if shuffled else train]).float()
    held, truth = torch.from_numpy(samples.features[validation]), classes[validation].ravel()
    notes = () if 0 < truth.mean() < 1 else ("the validation part has one class, so that the last epoch was taken",)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = torch.nn.Linear(rows.shape[1], len(targets))
        optimizer = torch.optim.Adam(layer.parameters(), lr=_RATE, betas=_BETAS)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=_FACTOR, patience=_PATIENCE)
        best, state = -1.0, layer.state_dict()
        for _ in range(_EPOCHS):
            total = 0.0
            order = random.permutation(len(rows))
            for begin in range(0, len(order), _BATCH):
                some = order[begin : begin + _BATCH]
                loss = functional.binary_cross_entropy_with_logits(layer(rows[some]), values[some])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                total += float(loss.detach()) * len(some)
            if not notes:
                with torch.no_grad():
                    area = float(roc_auc_score(truth, layer(held).numpy().ravel()))
                if area > best:
                    best, state = area, copy.deepcopy(layer.state_dict())
            schedule.step(total / len(order))
            if optimizer.param_groups[0]["lr"] <= _LAST_RATE:
                break
    weight, bias = (state[name].numpy().astype(np.float64) for name in ("weight", "bias"))
    zeros, ones = np.zeros(rows.shape[1]), np.ones(rows.shape[1])
    return [
        LinearHead(target.classes, zeros, ones, weight[index : index + 1], bias[index : index + 1], 0.0, notes)
        for index, target in enumerate(targets)
    ]


def _tenth(samples: Samples, train: NDArray[np.int64], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.model_selection import GroupShuffleSplit

    groups = samples.groups[train]
    if len(set(groups.tolist())) < 2:
        raise ConfigError(
            "MARLIN's protocol chooses the epoch on a validation part, and the training part is one group; give some "
            "groups the split val"
        )
    fit, held = next(GroupShuffleSplit(1, test_size=0.1, random_state=seed).split(train, groups=groups))
    return train[fit], train[held]
