"""Sets of features that can be compared, and those of two dumps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.dump.settings import differences
from marlin_sdk.errors import ConfigError, ShapeError
from marlin_sdk.evaluation.probe.samples import read_samples

__all__ = ["FEWEST_ROWS", "FeatureSet", "read_dumps"]

FEWEST_ROWS = 10
"""Of fewer windows or frames no covariance is worth a look."""

_MAX_LISTED = 10


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of windows or of frames.

    Attributes:
        name: what to call it.
        features: float32 or float64 (N, D), finite.
        groups: (N,) str: what belongs together and is drawn together, such as the video or the person of a row.
        unit: what a row is.
        notes: what was left out, in words.

    Raises:
        ShapeError: arrays of other shapes, or values that are not finite.
        ConfigError: fewer rows than `FEWEST_ROWS`.
    """

    name: str
    features: NDArray[Any]
    groups: NDArray[np.str_]
    unit: Literal["windows", "frames"] = "windows"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or self.groups.shape != (len(self.features),):
            raise ShapeError(
                f"{self.name}: features of shape {self.features.shape} and groups of {self.groups.shape}; expected "
                "(N, D) and (N,)"
            )
        if not np.isfinite(self.features).all():
            raise ShapeError(f"{self.name}: the features hold NaN or infinity; extract them again")
        if len(self) < FEWEST_ROWS:
            raise ConfigError(
                f"{self.name} has {len(self)} {self.unit}, too few for a distance of distributions: at least "
                f"{FEWEST_ROWS}, and rather ten times as many as the {self.width} dimensions"
            )

    def __len__(self) -> int:
        return len(self.features)

    @property
    def width(self) -> int:
        """Dimensions, D."""
        return int(self.features.shape[1])

    @property
    def num_groups(self) -> int:
        """How many groups there are."""
        return len(np.unique(self.groups))


def read_dumps(
    a: FeatureDump, b: FeatureDump, *, group: str | None = None, progress: Callable[[str, int, int], None] | None = None
) -> tuple[FeatureSet, FeatureSet]:
    """The windows of two dumps, if one encoder made both in the same way.

    Args:
        a: a dump; a window that is several vectors (`pool="time"`) is one row of all of them.
        b: another.
        group: label column of what belongs together. By default `group` where a dump has it, or else the source.
        progress: called with the dump that is read, the number of its videos read, and of all.
    Raises:
        ConfigError: other weights or settings in one dump than in the other, several weights in one dump, all tokens
            of each clip instead of a vector, NaN, too few windows, or videos without that label.
        FeatureFileError: a file cannot be read.
    """
    _check_alike(a, b)
    sets = []
    for letter, dump in (("A", a), ("B", b)):

        def advance(done: int, total: int, letter: str = letter) -> None:
            if progress is not None:
                progress(f"reading {letter}", done, total)

        samples = read_samples(dump, pooling="none", progress=advance)
        groups, notes = samples.groups, samples.notes
        if group is not None:
            groups = np.array([str(own.get(group, "")).strip() for own in samples.labels])
            if without := set(samples.ids[groups == ""].tolist()):
                raise ConfigError(
                    f"{dump.folder}: {len(without)} videos, such as {min(without)}, have no label {group!r}"
                )
            notes = tuple(note for note in notes if not note.startswith("no column `group`"))
        sets.append(FeatureSet(str(dump.folder), samples.features, groups, notes=notes))
    if sets[0].width != sets[1].width:
        raise ConfigError(f"{a.folder} has features of {sets[0].width} numbers, {b.folder} of {sets[1].width}")
    return sets[0], sets[1]


def _check_alike(a: FeatureDump, b: FeatureDump) -> None:
    """Refuse dumps whose features are not of one space."""
    weights = [{dump.entries[id].weights for id in dump} for dump in (a, b)]
    identities = [dump.settings.get("identity") for dump in (a, b)]
    differ: list[str] = []
    if all(isinstance(identity, dict) for identity in identities):
        differ = differences(*identities)
    elif all(weights):
        hashes = [{dump.entries[id].settings_hash for id in dump} - {""} for dump in (a, b)]
        if all(hashes) and hashes[0] != hashes[1]:
            differ = [f"settings_hash: {sorted(hashes[0])} there, {sorted(hashes[1])}"]
    if all(weights) and weights[0] != weights[1] and not any("weights" in line for line in differ):
        differ.insert(0, f"weights: {', '.join(sorted(weights[0]))} there, {', '.join(sorted(weights[1]))}")
    if differ:
        listed = "\n  ".join(f"{line} here" for line in differ[:_MAX_LISTED])
        more = f"\n  and {len(differ) - _MAX_LISTED} more" if len(differ) > _MAX_LISTED else ""
        raise ConfigError(
            f"{a.folder} (there) and {b.folder} (here) were not extracted alike, and their features cannot be "
            f"compared:\n  {listed}{more}\nextract both with the same weights and settings"
        )
