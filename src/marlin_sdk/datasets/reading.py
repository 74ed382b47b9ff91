"""Read a data set by its name."""

from __future__ import annotations

from pathlib import Path

from marlin_sdk.datasets.catalogue import data_set
from marlin_sdk.datasets.splits import MIN_GROUPS, seeded, straddling
from marlin_sdk.datasets.table import Table, named
from marlin_sdk.datasets.unpacked import UnpackedFolder
from marlin_sdk.errors import ConfigError

__all__ = ["read"]


def read(name: str, root: str | Path, *, seed: int = 0, **options: str) -> Table:
    """Read the clips of an unpacked data set, with their labels, splits and groups.

    No video is opened. Where the data set has official splits, they are kept; otherwise the clips are split by `seed`,
    8:1:1, with no group on both sides and labels in equal shares.

    Args:
        name: of the data set, such as "celebv-hq"; `marlin_sdk.datasets.catalogue.DATA_SETS` has all.
        root: the folder in which it was unpacked.
        seed: of a split that is not official.
        options: those that the catalogue names for the data set, such as `task="emotion"`.
    Returns:
        The table; `absent`, `unlisted` and `dropped` say what is not in it.
    Raises:
        ConfigError: no such data set or option; the folder is another one or half unpacked; or a list is damaged.
        MissingExtraError: h5py or scikit-learn is needed and not installed.
    """
    entry = data_set(name)
    unknown = sorted(set(options) - set(entry.options))
    if unknown:
        known = ", ".join(entry.options) or "none"
        raise ConfigError(f"{name} has no option {', '.join(unknown)}; its options: {known}")
    chosen = {key: option.check(options.get(key, option.default), key) for key, option in entry.options.items()}
    found = entry.load()(UnpackedFolder(Path(root), entry.expected), chosen)
    clips, split_by, notes = found.clips, found.split_by, list(found.notes)
    groups = {clip.group for clip in clips}
    if clips and "" in groups:
        alone = [clip.id for clip in clips if not clip.group]
        notes.append(f"{named(alone, 'clip')} without a group: one person may be on both sides of a split.")
    if split_by is None:
        count = len(groups - {""}) + sum(not clip.group for clip in clips)
        if count < MIN_GROUPS:
            split_by = "nobody"
            notes.append(f"The split is empty: {count} groups cannot make train, val and test.")
        else:
            clips, split_by = seeded(clips, found.strata, seed=seed), f"seed {seed}"
    elif both := straddling(clips):
        notes.append(f"{named(both, 'group')} in more than one part of the {split_by} split.")
    return Table(name, tuple(clips), split_by, found.absent, found.unlisted, found.dropped, notes)
