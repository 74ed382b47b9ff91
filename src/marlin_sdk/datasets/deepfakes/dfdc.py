"""DFDC: originals, and fakes made of them, in parts with a JSON file each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from marlin_sdk.datasets.listing import SPLITS, Listing
from marlin_sdk.datasets.table import Clip
from marlin_sdk.datasets.unpacked import UnpackedFolder, stem
from marlin_sdk.errors import ConfigError

__all__ = ["read"]

_PART = re.compile(r"dfdc_train_part_(\d+)")
_FAKE = {"FAKE": True, "REAL": False}


def read(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read the parts of DFDC's training data that are there.

    Labels are `fake` and `part`, the number of the folder. The group is the original; a fake is in that of the video
    that it was made of. The lists call everything "train": unless they name several splits, the split is by the seed.
    """
    parts = [(int(match[1]), name) for name in folder.folders() if (match := _PART.fullmatch(name))]
    if not parts:
        raise folder.incomplete("folder dfdc_train_part_<N>")
    listing = Listing(strata=("fake",))
    for number, part in sorted(parts):
        list_name = folder.need(f"{part}/metadata.json")
        entries, place = folder.json(list_name), folder.path(list_name)
        if not isinstance(entries, dict):
            raise ConfigError(f"{place}: {type(entries).__name__}; expected an object with a key for each video")
        for name, entry in entries.items():
            label = entry.get("label") if isinstance(entry, dict) else None
            if not isinstance(label, str) or label not in _FAKE:
                raise ConfigError(f"{place}, {name!r}: {entry!r:.80}; expected the label FAKE or REAL")
            if not folder.has(f"{part}/{name}"):
                listing.absent.append(f"{part}/{name}")
                continue
            original, split = entry.get("original") or name, str(entry.get("split") or "").lower()
            listing.clips.append(
                Clip(
                    folder.path(f"{part}/{name}"),
                    f"{part}/{stem(name)}",
                    labels={"fake": _FAKE[label], "part": number},
                    split=SPLITS.get(split, split),
                    group=stem(str(original)),
                )
            )
        listing.find_unlisted(folder.files(part), (f"{part}/{name}" for name in entries))
    if len({clip.split for clip in listing.clips}) > 1:
        listing.split_by = "official"
    else:
        listing.clips = [replace(clip, split="") for clip in listing.clips]
    return listing
