"""Training and validation: a fixed split by identity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Literal

from marlin_sdk.errors import ConfigError

__all__ = ["Split", "assign_splits", "check_disjoint"]

Split = Literal["train", "val"]


def assign_splits(
    identities: Iterable[str], *, val_share: float, seed: int, known: Mapping[str, Split] | None = None
) -> dict[str, Split]:
    """Assign each identity to a split.

    The validation identities are selected at random; the selection depends only on names and seed, not on the machine
    or on the order of the folder.

    Args:
        identities: their names.
        val_share: fraction of identities for validation, in [0, 1), at least one; 0 makes no validation split.
        seed: of the selection.
        known: splits that are already fixed.
    Raises:
        ConfigError: a fraction outside [0, 1), or one identity for two splits.
    """
    if not 0 <= val_share < 1:
        raise ConfigError(f"val_share is {val_share!r}; expected a number of at least 0 and less than 1")
    splits: dict[str, Split] = dict(known or {})
    names = sorted(set(identities) | set(splits))
    if val_share and len(names) == 1:
        raise ConfigError(
            f"only one identity, {names[0]!r}, for training and validation; add videos of others, "
            "or pass val_share=0 (--val-share 0) to train on all and validate on nothing"
        )
    wanted = min(max(1, round(val_share * len(names))), len(names) - 1) if val_share else 0
    free = sorted(set(names) - set(splits), key=lambda name: sha256(f"{seed}:{name}".encode()).digest())
    drawn = free[: max(0, wanted - list(splits.values()).count("val"))]
    splits.update({name: "val" if name in drawn else "train" for name in free})
    return splits


def check_disjoint(rows: Iterable[tuple[str, str, str]]) -> None:
    """Check that no identity is in both splits.

    Args:
        rows: (identity, split, origin of this assignment) each.
    Raises:
        ConfigError: one is; the message names both origins.
    """
    seen: dict[str, tuple[str, str]] = {}
    for identity, split, origin in rows:
        first_split, first_origin = seen.setdefault(identity, (split, origin))
        if first_split != split:
            raise ConfigError(
                f"identity {identity!r} is in both splits: {first_split} in {first_origin}, {split} in {origin}; "
                "put all its videos in one split, and prepare into a new folder"
            )
