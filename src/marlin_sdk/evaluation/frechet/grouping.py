"""The groups of two sets, and distances between the rows of some of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.evaluation.frechet.distance import Distance, frechet_distance
from marlin_sdk.evaluation.frechet.sets import FeatureSet

__all__ = ["Counts", "Grouping", "Split"]

Counts = NDArray[np.int64]
"""How often each group counts [G]."""

Split = tuple[Counts, Counts, Counts]
"""Two parts of the first set, and a part of the second."""


class Grouping:
    """The groups of two sets, numbered together: a group that both sets have is one.

    Attributes:
        number: how many groups there are, G.
        of_a: the numbers of those of the first set.
        of_b: of the second.
        sizes: rows of each group in the first and in the second set, [G] each.

    Args:
        a: the first set.
        b: the second.
    """

    def __init__(self, a: FeatureSet, b: FeatureSet) -> None:
        names, of = np.unique(np.concatenate([a.groups, b.groups]), return_inverse=True)
        self.number = len(names)
        self._of = (of[: len(a)], of[len(a) :])
        centre = np.concatenate([a.features, b.features]).mean(axis=0, dtype=np.float64)  # large offsets cost digits
        self._rows = (a.features - centre, b.features - centre)
        self.sizes = tuple(np.bincount(of, minlength=self.number) for of in self._of)
        in_a, in_b = (sizes > 0 for sizes in self.sizes)
        self.of_a, self.of_b = np.flatnonzero(in_a), np.flatnonzero(in_b)
        # drawn apart, so that each draw has both sets; what is in both is drawn for both
        parts = (in_a & in_b, in_a & ~in_b, in_b & ~in_a)
        self._strata = [found for part in parts if len(found := np.flatnonzero(part))]

    def rows(self, counts: Counts) -> tuple[int, int]:
        """How many rows of each set these groups have."""
        return int(self.sizes[0] @ counts), int(self.sizes[1] @ counts)

    def counts(self, groups: NDArray[np.int64]) -> Counts:
        """How often each group is among these numbers."""
        return np.bincount(groups, minlength=self.number)

    def drawn(self, rng: np.random.Generator) -> Counts:
        """As many groups as there are, with replacement."""
        return self.counts(np.concatenate([rng.choice(stratum, len(stratum)) for stratum in self._strata]))

    def some(self, share: float, rng: np.random.Generator) -> Counts:
        """A share of the groups, without replacement."""
        chosen = [rng.permutation(stratum)[: max(1, round(share * len(stratum)))] for stratum in self._strata]
        return self.counts(np.concatenate(chosen))

    def distance(self, counts_a: Counts, counts_b: Counts) -> Distance:
        """Between groups of the first set and groups of the second."""
        (of_a, of_b), (rows_a, rows_b) = self._of, self._rows
        return frechet_distance(rows_a, rows_b, counts_a=counts_a[of_a], counts_b=counts_b[of_b])

    def halves(self, rng: np.random.Generator) -> Split:
        """Two random halves of the first set, and groups of the second with as many rows as the second half.

        Of the second set, groups that the first half lacks come first: the second half lacks them too.
        """
        one, other = (self.counts(part) for part in np.array_split(rng.permutation(self.of_a), 2))
        order = rng.permutation(self.of_b)
        order = order[np.argsort(one[order], kind="stable")]
        enough = int(np.searchsorted(np.cumsum(self.sizes[1][order]), self.rows(other)[0])) + 1
        return one, other, self.counts(order[:enough])

    def blocks(self, split: Split, number: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """The block of each group, of at most this many, each with about as many groups of each part of a split."""
        one, other, alike = split
        parts = [np.flatnonzero(part) for part in (one, other, alike * (self.sizes[0] == 0))]
        parts = [part for part in parts if len(part)]
        blocks = np.zeros(self.number, np.int64)
        for part in parts:
            blocks[rng.permutation(part)] = np.arange(len(part)) % min(number, *map(len, parts))
        return blocks

    def sizes_of(self, split: Split) -> tuple[int, int, int]:
        """Rows of the parts of a split."""
        one, other, alike = split
        return self.rows(one)[0], self.rows(other)[0], self.rows(alike)[1]

    def distances(self, split: Split) -> tuple[float, float]:
        """From the first part of a split to the second, and to the third."""
        one, other, alike = split
        of, rows = self._of[0], self._rows[0]
        within = frechet_distance(rows, rows, counts_a=one[of], counts_b=other[of])
        return within.value, self.distance(one, alike).value
