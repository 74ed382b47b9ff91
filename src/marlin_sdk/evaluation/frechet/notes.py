"""What to know about a Fréchet distance before it is believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from marlin_sdk.evaluation.frechet.results import TOLERANCE, Frechet

__all__ = ["notes_on"]

_FEW_GROUPS = 30
_BENDS = 0.1


def notes_on(found: Frechet, of_sides: tuple[Sequence[str], Sequence[str]]) -> Frechet:
    """The same with its notes.

    Args:
        found: a distance.
        of_sides: what is to be known of the first set, and of the second.
    """
    said = dict.fromkeys(f"{letter}: {note}" for letter, notes in zip("AB", of_sides, strict=True) for note in notes)
    return replace(found, notes=(*_on_numbers(found), *_on_curve(found), *said))


def _on_numbers(found: Frechet) -> Iterator[str]:
    for letter, side in (("A", found.a), ("B", found.b)):
        if side.rows <= found.width:
            yield (
                f"{letter} has {side.rows:,} {found.unit} of {found.width:,} dimensions: its covariance has at most "
                f"{side.rows - 1:,} of {found.width:,} directions, and what the covariances add is mostly bias"
            )
    fewest = min(found.a.groups, found.b.groups)
    if fewest == 1:
        yield "a set of one group only: there is nothing to draw from, and no interval and no curve"
    elif not found.curve:
        yield f"{fewest} groups are too few for a curve: whether there are enough {found.unit} is not known"
    elif fewest < _FEW_GROUPS:
        yield f"{fewest} groups are few: below {_FEW_GROUPS}, intervals are unreliable, and mostly too narrow"
    if 1 < fewest <= found.width:
        yield (
            f"{fewest} groups fill only some of {found.width:,} dimensions: the curve leads to too much, and the "
            "distance without bias has no interval; trust what lies above the floor"
        )


def _on_curve(found: Frechet) -> Iterator[str]:
    everything, most = found.extrapolated, found.extrapolated_from_most
    if everything is None:
        return
    if not found.is_apart:
        yield f"the distance cannot be told from none: of so few {found.unit}, a small one is not seen"
    elif found.a.rows_needed is not None and found.a.rows_needed > found.a.rows:
        yield (
            f"too few {found.unit}: by the curve {(found.value - everything) / found.value:.0%} of the distance is "
            f"bias; for {TOLERANCE:.0%} of what remains it takes about {found.a.rows_needed:,} of A and "
            f"{found.b.rows_needed:,} of B"
        )
    if most is not None and everything - most > _BENDS * max(found.value - everything, 0.0):
        yield (
            f"the curve bends: its upper half alone leads to {most:.4g}, all of it to {everything:.4g}, and more "
            f"{found.unit} would lead lower still"
        )
