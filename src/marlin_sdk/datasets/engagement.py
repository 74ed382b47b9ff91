"""EngageNet and DAiSEE: people, and how engaged they are."""

from __future__ import annotations

import re
from collections.abc import Mapping

from marlin_sdk.datasets.listing import SPLITS, Listing
from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.datasets.unpacked import UnpackedFolder, stem
from marlin_sdk.errors import ConfigError

__all__ = ["read_daisee", "read_engagenet"]

_LEVELS = ("Not-Engaged", "Barely-engaged", "Engaged", "Highly-Engaged")
_NOBODY = "SNP(Subject Not Present)"
_STATES = ("Boredom", "Engagement", "Confusion", "Frustration")


def read_engagenet(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read EngageNet.

    Labels are `engagement` and `level`, 0 to 3. Clips without a person are left out. The group is the person: the name
    before the first "-".
    """
    listing, splits = Listing(split_by="official"), dict[str, str]()
    for split in ("train", "valid", "test"):
        for place, line in folder.lines(folder.need(f"{split}.txt")):
            if splits.setdefault(stem(line), split) != split:
                raise ConfigError(f"{place}: {line} is in {splits[stem(line)]}.txt too; expected it in one")
    listed = set[str]()
    for place, row in folder.rows(folder.need("final_labels.csv"), "chunk", "label"):
        name, label = stem(row["chunk"]), row["label"]
        listed.add(name)
        file = folder.find(name)
        if label not in (*_LEVELS, _NOBODY):
            raise ConfigError(f"{place}: label is {label!r}; expected {', '.join(_LEVELS)} or {_NOBODY}")
        if label == _NOBODY:
            listing.drop(f"the label is {_NOBODY}", name)
        elif name not in splits:
            listing.drop("in none of train.txt, valid.txt and test.txt", name)
        elif file is None:
            listing.absent.append(name)
        else:
            labels: dict[str, Label] = {"engagement": label, "level": _LEVELS.index(label)}
            split, person = SPLITS[splits[name]], name.partition("-")[0]
            listing.clips.append(Clip(folder.path(file), name, labels=labels, split=split, group=person))
    for name in sorted(set(splits) - listed):
        listing.drop("in a list, but without a label", name)
    listing.find_unlisted(folder.by_stem, listed)
    return listing


def read_daisee(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read DAiSEE.

    Labels are `boredom`, `engagement`, `confusion` and `frustration`, each 0 to 3. The group is the user.
    """
    listing, listed = Listing(split_by="official"), set[str]()
    for part in ("Train", "Validation", "Test"):
        files = {stem(file): file for file in folder.files(folder.need(f"DataSet/{part}"))}
        for place, row in folder.rows(folder.need(f"Labels/{part}Labels.csv"), "ClipID", *_STATES):
            name = stem(row["ClipID"])
            labels: dict[str, Label] = {state.lower(): _level(row[state], state, place) for state in _STATES}
            file = files.get(name)
            if file is None:
                listing.absent.append(f"{part}/{name}")
                continue
            listed.add(file)
            user = file.split("/")[2]
            id, split = f"{user}/{name}", SPLITS[part.lower()]
            listing.clips.append(Clip(folder.path(file), id, labels=labels, split=split, group=f"user-{user}"))
        listing.find_unlisted(files.values(), listed)
    return listing


def _level(text: str, state: str, place: str) -> int:
    if not re.fullmatch(r"[0-3]", text):
        raise ConfigError(f"{place}: {state} is {text!r}; expected 0, 1, 2 or 3")
    return int(text)
