"""LRS2: sentences, each with its text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from marlin_sdk.datasets.listing import Listing
from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.datasets.unpacked import UnpackedFolder
from marlin_sdk.errors import ConfigError

__all__ = ["read"]

_PARTS = {"main": ("train", "val", "test"), "pretrain": ("pretrain",), "all": ("train", "val", "test", "pretrain")}
_NAME = re.compile(r"\d+/\d+")


def read(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read LRS2: the sentences, the longer parts for pretraining, or both.

    Labels are `text` and `confidence`, from the text beside each video. A line of a list names a clip by its first
    word; what follows (NF, MV) is no part of the name. The split is that of the lists, and "pretrain". The group is the
    directory.
    """
    base = folder.need("mvlrs_v1", "main").removesuffix("main")
    base = f"{base}/" if base else ""
    listing, listed = Listing(split_by="official"), list[str]()
    for split in _PARTS[options["part"]]:
        below = f"{base}{'pretrain' if split == 'pretrain' else 'main'}"
        for place, line in folder.lines(folder.need(*dict.fromkeys((f"{split}.txt", f"{base}{split}.txt")))):
            name = line.split()[0]
            if not _NAME.fullmatch(name):
                raise ConfigError(f"{place}: {line!r:.80}; expected '<directory>/<clip>', both of digits")
            file = f"{below}/{name}.mp4"
            id = f"{below.removeprefix(base)}/{name}"
            listed.append(file)
            if not folder.has(file):
                listing.absent.append(id)
                continue
            labels = _spoken(folder, f"{below}/{name}.txt")
            group = f"dir-{name.partition('/')[0]}"
            listing.clips.append(Clip(folder.path(file), id, labels=labels, split=split, group=group))
    below = {"main": "main", "pretrain": "pretrain", "all": ""}[options["part"]]
    listing.find_unlisted(folder.files(f"{base}{below}".rstrip("/")), listed)
    return listing


def _spoken(folder: UnpackedFolder, name: str) -> Mapping[str, Label]:
    if not folder.has(name):
        return {"text": None, "confidence": None}
    head = dict(line.partition(":")[::2] for _, line in folder.lines(name) if line.startswith(("Text:", "Conf:")))
    if "Text" not in head:
        raise ConfigError(f"{folder.path(name)} has no line 'Text: ...'; expected what is said")
    confidence = head.get("Conf", "").strip()
    return {"text": head["Text"].strip(), "confidence": int(confidence) if confidence.isdecimal() else None}
