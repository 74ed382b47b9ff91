"""Splits by a seed: no group on both sides, labels in equal shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.errors import ConfigError, MissingExtraError

__all__ = ["MIN_GROUPS", "seeded", "straddling"]

MIN_GROUPS = 3
"""Fewest groups that make a training, a validation and a test part."""

_PARTS = 10  # of which one is for validation and one for the test
_RARE = "rare"


def seeded(clips: Sequence[Clip], strata: Sequence[str], *, seed: int) -> list[Clip]:
    """Split clips into train, val and test, about 8:1:1, with scikit-learn's StratifiedGroupKFold.

    Args:
        clips: a clip without group is a group of its own.
        strata: labels to balance. Of one label, its values; of several, all bool, the rarest that is true of a clip.
        seed: another one gives another split.
    Returns:
        The clips in their order, each with its split.
    Raises:
        ConfigError: fewer than three groups, or a negative seed.
        MissingExtraError: scikit-learn is not installed.
    """
    if seed < 0:
        raise ConfigError(f"seed={seed}; expected 0 or more")
    groups = [clip.group or f"\0{index}" for index, clip in enumerate(clips)]
    count = len(set(groups))
    if count < MIN_GROUPS:
        raise ConfigError(f"{count} groups cannot make train, val and test; expected {MIN_GROUPS} or more")
    try:
        from sklearn.model_selection import StratifiedGroupKFold
    except ImportError as error:
        raise MissingExtraError("A split by a seed", "probe") from error
    parts = min(_PARTS, count)
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed).split(
        clips, _merged(_classes(clips, strata), parts), groups
    )
    # One large group makes one large fold, which is for training.
    share = len(clips) / _PARTS
    held_out = sorted((rows for _, rows in folds if len(rows)), key=lambda rows: abs(len(rows) - share))
    split = {int(row): name for name, rows in zip(("test", "val"), held_out, strict=False) for row in rows}
    return [replace(clip, split=split.get(index, "train")) for index, clip in enumerate(clips)]


def straddling(clips: Sequence[Clip]) -> list[str]:
    """Groups with clips in several splits, sorted."""
    first: dict[str, str] = {}
    placed = [clip for clip in clips if clip.group and clip.split]
    return sorted({clip.group for clip in placed if first.setdefault(clip.group, clip.split) != clip.split})


def _classes(clips: Sequence[Clip], strata: Sequence[str]) -> list[str]:
    if len(strata) < 2:
        return [str(clip.labels.get(strata[0])) if strata else "" for clip in clips]
    counts = Counter(name for clip in clips for name in strata if _is_true(clip.labels.get(name)))
    return [
        min((name for name in strata if _is_true(clip.labels.get(name))), key=lambda name: counts[name], default="")
        for clip in clips
    ]


def _is_true(label: Label) -> bool:
    return label is True


def _merged(classes: Sequence[str], least: int) -> list[str]:
    """Classes of at least so many clips: rarer ones are one class, or join the largest if that is rare too."""
    counts = Counter(classes)
    rare = {name for name, count in counts.items() if count < least}
    if not rare:
        return list(classes)
    target = f"\0{_RARE}"
    if sum(counts[name] for name in rare) < least:
        target = counts.most_common(1)[0][0]
        if target in rare:  # all are: no class to balance
            return [""] * len(classes)
    return [target if name in rare else name for name in classes]
