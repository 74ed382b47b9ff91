"""The linear probe that a run starts from, and has to beat: heads on features of the frozen encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.atomic import atomic_path
from marlin_sdk.evaluation.probe.attentive import AttentiveHead
from marlin_sdk.evaluation.probe.cells import fit_heads
from marlin_sdk.evaluation.probe.heads import Head, HeadName
from marlin_sdk.evaluation.probe.samples import Samples
from marlin_sdk.evaluation.probe.targets import Target
from marlin_sdk.training.finetune.config import HeadKind
from marlin_sdk.training.finetune.features import WindowRows

__all__ = ["fit_frozen", "head_name", "load_rows", "save_rows", "scores_of"]


def head_name(kind: HeadKind, target: Target) -> HeadName:
    """The probe's head that corresponds to a head of fine-tuning."""
    return "attentive" if kind == "attentive" else "logistic" if target.classes else "ridge"


def fit_frozen(
    rows: WindowRows,
    samples: Samples,
    targets: Sequence[Target],
    train: NDArray[np.int64],
    kind: HeadKind,
    *,
    seed: int,
) -> list[Head]:
    """A head for each label, fitted on the training part; their penalties are chosen within it, by group.

    Args:
        rows: features of the windows of all clips.
        samples: the clips.
        targets: the labels.
        train: the clips to learn from.
        kind: of head.
        seed: of the inner folds.
    """
    heads = []
    for target in targets:
        own = np.intersect1d(train[target.labelled[train]], rows.rows)
        if kind == "attentive":
            kept, features, ends = rows.select(own)
        else:
            kept, features = rows.means(own)
            ends = np.empty(0, np.int64)
        some = replace(samples.select(kept), features=features, ends=ends)
        picked = replace(target, values=target.values[kept])
        (head,) = fit_heads("features", head_name(kind, target), some, [picked], np.arange(len(kept)), seed=seed)
        heads.append(cast(Head, head))
    return heads


def scores_of(heads: Sequence[Head], rows: WindowRows, clips: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """For each label the scores of some clips, all of which have features."""
    found = []
    for head in heads:
        if isinstance(head, AttentiveHead):
            _, features, ends = rows.select(clips)
        else:
            _, features = rows.means(clips)
            ends = np.empty(0, np.int64)
        found.append(head.scores(features, ends))
    return found


def save_rows(path: Path, rows: WindowRows) -> None:
    """Keep features in a file, so that a run that resumes need not compute them again.

    Raises:
        OSError: it cannot be written.
    """
    from safetensors.numpy import save_file

    names = [f"{row}:{why}" for row, why in sorted(rows.broken.items())]
    with atomic_path(path) as part:
        save_file(
            {"features": rows.features, "row": rows.row, "window": rows.window},
            part,
            metadata={"broken": "\n".join(name.replace("\n", " ") for name in names)},
        )


def load_rows(path: Path) -> WindowRows:
    """Read a file of `save_rows`."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        lines = [line.partition(":") for line in ((file.metadata() or {}).get("broken") or "").splitlines()]
        features, row, window = (file.get_tensor(name) for name in ("features", "row", "window"))
    return WindowRows(features, row, window, {int(number): why for number, _, why in lines})
