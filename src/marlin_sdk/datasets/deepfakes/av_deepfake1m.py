"""AV-Deepfake1M and AV-Deepfake1M++: videos in which short segments of picture or sound are fake."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from marlin_sdk.datasets.listing import Listing
from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.datasets.unpacked import UnpackedFolder, stem
from marlin_sdk.errors import ConfigError

__all__ = ["read"]

_SPLITS = ("train", "val")
_KINDS = ("fake_segments", "visual_fake_segments", "audio_fake_segments")


def read(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read AV-Deepfake1M, whose lists are one JSON file or many, or AV-Deepfake1M++, with one beside each video.

    Labels are `fake` (any segment is), `fake_visual`, `fake_audio`, `modify_type`, `audio_model` and `fake_segments`, a
    JSON list of [start, end] in seconds. `modify_type` is spelt both_modified, though some lists have a hyphen. The
    group is the original. Videos of test_files.txt have no labels.
    """
    listing, found = Listing(split_by="official"), False
    for split in _SPLITS:
        listed = list[str]()
        for place, entry in _entries(folder, split):
            file, clip = _clip(folder, split, entry, place)
            found = True
            listed.append(file)
            if folder.has(file):
                listing.clips.append(clip)
            else:
                listing.absent.append(file)
        listing.find_unlisted(folder.files(split), listed)
    if folder.has("test_files.txt"):
        for _, name in folder.lines("test_files.txt"):
            file = f"test/{name.removeprefix('test/')}"
            if folder.has(file):
                listing.clips.append(Clip(folder.path(file), _without_suffix(file), split="test", group=file))
            else:
                listing.absent.append(file)
    if not found:
        raise folder.incomplete("list of videos")
    return listing


def _entries(folder: UnpackedFolder, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each video's entry, with its place for messages."""
    one_list, many = f"{split}_metadata.json", f"{split}_metadata"
    if folder.has(one_list):
        entries = folder.json(one_list)
        if not isinstance(entries, list):
            raise ConfigError(f"{folder.path(one_list)}: {type(entries).__name__}; expected a list")
        for index, entry in enumerate(entries):
            yield f"{folder.path(one_list)}, entry {index}", _checked(entry, folder, one_list)
        return
    beside = not folder.has(many)
    for name in folder.files(split if beside else many, (".json",)):
        entry = folder.json(name)
        if beside and isinstance(entry, dict):  # whatever name it gives, this is the video beside it
            entry["file"] = name[len(split) + 1 :].removesuffix(".json") + ".mp4"
        yield str(folder.path(name)), _checked(entry, folder, name)


def _checked(entry: Any, folder: UnpackedFolder, name: str) -> dict[str, Any]:
    if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
        raise ConfigError(f"{folder.path(name)}: {entry!r:.80}; expected an object with 'file' for each video")
    return entry


def _clip(folder: UnpackedFolder, split: str, entry: Mapping[str, Any], place: str) -> tuple[str, Clip]:
    name = entry["file"].removeprefix(f"{split}/")
    segments = {kind: _segments(entry.get(kind), kind, place) for kind in _KINDS}
    labels: dict[str, Label] = {
        "fake": bool(segments["fake_segments"]),
        "fake_visual": bool(segments["visual_fake_segments"]),
        "fake_audio": bool(segments["audio_fake_segments"]),
        "modify_type": _text(entry.get("modify_type")).replace("-", "_"),
        "audio_model": _text(entry.get("audio_model")),
        "fake_segments": json.dumps(segments["fake_segments"]),
    }
    source = entry.get("original")
    original = (source if isinstance(source, str) and source else name).removeprefix(f"{split}/")
    file = f"{split}/{name}"
    return file, Clip(folder.path(file), _without_suffix(file), labels=labels, split=split, group=original)


def _segments(value: Any, kind: str, place: str) -> list[list[float]]:
    """Start and end of each segment in seconds; no list at all is none."""
    segments = [] if value is None else value
    if not isinstance(segments, list) or not all(
        isinstance(one, list)
        and len(one) == 2
        and all(type(time) in (int, float) and 0 <= time < math.inf for time in one)
        for one in segments
    ):
        raise ConfigError(f"{place}: {kind} is {value!r:.60}; expected a list of [start, end] in seconds")
    return [[float(start), float(end)] for start, end in segments]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _without_suffix(file: str) -> str:
    folder, slash, last = file.rpartition("/")
    return folder + slash + stem(last)
