"""Celeb-DF v2: celebrities, videos of YouTube, and fakes made of the celebrities."""

from __future__ import annotations

import re
from collections.abc import Mapping

from marlin_sdk.datasets.listing import Listing
from marlin_sdk.datasets.table import Clip
from marlin_sdk.datasets.unpacked import UnpackedFolder, stem
from marlin_sdk.errors import ConfigError

__all__ = ["read"]

_LIST = "List_of_testing_videos.txt"
_FAKE = {"Celeb-real": False, "YouTube-real": False, "Celeb-synthesis": True}
_TARGET = re.compile(r"(id\d+)(?:_id\d+)?_\d+")
_LINE = re.compile(r"([01])\s+(\S.*)")


def read(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read Celeb-DF v2.

    The label is `fake`, by the folder. The official list is the test part, and has it the other way round: 1 is real, 0
    is fake. What it does not name is for training. The group is the person whose video it is.
    """
    test, listing = _test(folder), Listing(split_by="official")
    for kind, fake in _FAKE.items():
        files = folder.files(folder.need(kind))
        if not files:
            raise folder.incomplete(f"video in {kind}")
        for file in files:
            match = _TARGET.fullmatch(stem(file))
            if match is None and kind != "YouTube-real":
                listing.unlisted.append(file)
                continue
            group = match[1] if match else f"youtube-{stem(file)}"
            split = "test" if file in test else "train"
            id = f"{kind}/{stem(file)}"
            listing.clips.append(Clip(folder.path(file), id, labels={"fake": fake}, split=split, group=group))
    listing.absent += [name for name in test if not folder.has(name)]
    return listing


def _test(folder: UnpackedFolder) -> Mapping[str, bool]:
    """The files of the official list, and whether each is fake; the list must agree with the folders."""
    found: dict[str, bool] = {}
    for place, line in folder.lines(folder.need(_LIST)):
        match = _LINE.fullmatch(line)
        kind = match[2].partition("/")[0] if match else ""
        if match is None or kind not in _FAKE:
            raise ConfigError(f"{place}: {line!r:.80}; expected '1 Celeb-real/id0_0000.mp4', where 1 is real")
        fake = match[1] == "0"
        if fake != _FAKE[kind]:
            raise ConfigError(
                f"{place}: {line!r:.80} says {'fake' if fake else 'real'} of a video in {kind}; expected 1 for real "
                "and 0 for fake, as in the published list"
            )
        found[match[2]] = fake
    return found
