"""Your own videos: the name of a folder is their label."""

from __future__ import annotations

from collections.abc import Mapping

from marlin_sdk.datasets.listing import SPLITS, Listing
from marlin_sdk.datasets.table import Clip
from marlin_sdk.datasets.unpacked import UnpackedFolder, stem

__all__ = ["read"]


def read(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read a folder of folders.

    The label is `label`: the name of the first folder or, if all first folders are named like splits (train, val,
    test), that of the second, and the first is the split. The group is the folder below that of the label, such as the
    person, if there is one.
    """
    listing, files = Listing(strata=("label",)), folder.files()
    tops = {file.partition("/")[0] for file in files if "/" in file}
    has_splits = bool(tops) and all(top.lower() in SPLITS for top in tops)
    if has_splits:
        listing.split_by = "its folders"
    for file in files:
        *folders, name = file.split("/")
        split = SPLITS[folders.pop(0).lower()] if has_splits and folders else ""
        if not folders:
            listing.unlisted.append(file)
            continue
        id = "/".join([*file.split("/")[:-1], stem(name)])
        group = folders[1] if len(folders) > 1 else ""
        listing.clips.append(Clip(folder.path(file), id, labels={"label": folders[0]}, split=split, group=group))
    if not listing.clips:
        raise folder.incomplete("video in a folder that names its label")
    return listing
