"""Who trains and who validates: a fixed split by identity."""

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
    """Put each identity on one side.

    The identities that validate are drawn by the seed; which one comes first in the draw depends on names and seed
    alone, not on the machine, nor on the order of the folder.

    Args:
        identities: their names.
        val_share: share of identities that validate, in [0, 1), at least one; 0 makes no validation split.
        seed: another seed makes another split.
        known: sides that are fixed already.
    Raises:
        ConfigError: a share outside [0, 1), or one identity for two sides.
    """
    if not 0 <= val_share < 1:
        raise ConfigError(f"val_share is {val_share!r}; expected a number of at least 0 and less than 1")
    sides: dict[str, Split] = dict(known or {})
    names = sorted(set(identities) | set(sides))
    if val_share and len(names) == 1:
        raise ConfigError(
            f"only one identity, {names[0]!r}, for training and validation; add videos of others, "
            "or pass val_share=0 (--val-share 0) to train on all and validate on nothing"
        )
    wanted = min(max(1, round(val_share * len(names))), len(names) - 1) if val_share else 0
    free = sorted(set(names) - set(sides), key=lambda name: sha256(f"{seed}:{name}".encode()).digest())
    drawn = free[: max(0, wanted - list(sides.values()).count("val"))]
    sides.update({name: "val" if name in drawn else "train" for name in free})
    return sides


def check_disjoint(rows: Iterable[tuple[str, str, str]]) -> None:
    """See that no identity is on both sides.

    Args:
        rows: (identity, split, where this was read) each.
    Raises:
        ConfigError: one is; the message names both places.
    """
    seen: dict[str, tuple[str, str]] = {}
    for identity, split, where in rows:
        side, place = seen.setdefault(identity, (split, where))
        if side != split:
            raise ConfigError(
                f"identity {identity!r} is on both sides of the split: {side} in {place}, {split} in {where}; "
                "put all its videos on one side, and prepare into a new folder"
            )
