"""CelebV-HQ: clips of faces with 40 appearances, 35 actions, and emotions over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from marlin_sdk.datasets.listing import SPLITS, Listing
from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.datasets.unpacked import UnpackedFolder
from marlin_sdk.errors import ConfigError

__all__ = ["read"]

_INFO = "celebvhq_info.json"
_KINDS = {"attributes": ("appearance", "action"), "appearance": ("appearance",), "action": ("action",), "emotion": ()}
_SLACK_S = 0.1  # of an emotion's end past the clip's: the times are rounded


class _Emotion(NamedTuple):
    name: str
    start_s: float | None = None
    end_s: float | None = None


def read(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read CelebV-HQ.

    Labels are `appearance.<name>` and `action.<name>`, or `emotion`. An emotion that changes in a clip gives a row for
    each of its intervals, taken as relative to the clip; one outside the clip is dropped. Splits are official only in
    name: there are none, but lists as MARLIN made them are read. The group is the YouTube video.
    """
    info = folder.json(folder.need(_INFO))
    place = str(folder.path(_INFO))
    clips, mappings = _part(info, "clips", dict, place), _part(info, "meta_info", dict, place)
    names = {kind: _part(mappings, f"{kind}_mapping", list, f"{place}, meta_info") for kind in _KINDS[options["task"]]}
    videos = folder.need("processed", "downloaded")
    splits, listing = _splits(folder), Listing()
    listing.split_by = "listed" if splits else None
    if splits:
        listing.notes.append("The split is that of train.txt, val.txt and test.txt; CelebV-HQ itself has none.")
    for id, clip in clips.items():
        where = f"{place}, clip {id!r}"
        file = f"{videos}/{id}.mp4"
        if not folder.has(file):
            listing.absent.append(id)
            continue
        group, split = str(_part(clip, "ytb_id", str, where)), splits.get(id, "")
        marks = _part(clip, "attributes", dict, where)
        if options["task"] != "emotion":
            listing.clips.append(
                Clip(folder.path(file), id, labels=_attributes(marks, names, where), split=split, group=group)
            )
            continue
        for emotion in _emotions(marks, clip, where, listing, id):
            part = "" if emotion.start_s is None else f"@{emotion.start_s:.2f}-{emotion.end_s:.2f}"
            listing.clips.append(
                Clip(
                    folder.path(file),
                    id + part,
                    emotion.start_s,
                    emotion.end_s,
                    labels={"emotion": emotion.name},
                    split=split,
                    group=group,
                )
            )
    if options["task"] == "emotion":
        listing.strata = ("emotion",)
    else:
        listing.strata = tuple(dict.fromkeys(name for clip in listing.clips[:1] for name in clip.labels))
    listing.find_unlisted(folder.files(videos), (f"{videos}/{id}.mp4" for id in clips))
    if splits:
        unsplit = [clip.id for clip in listing.clips if not clip.split]
        listing.clips = [clip for clip in listing.clips if clip.split]
        if unsplit:
            listing.dropped["in none of the lists of the split"] = unsplit
    return listing


def _attributes(marks: Mapping[str, Any], names: Mapping[str, list[Any]], where: str) -> Mapping[str, Label]:
    labels: dict[str, Label] = {}
    for kind, columns in names.items():
        values = _part(marks, kind, list, where)
        if len(values) != len(columns) or any(value not in (0, 1) for value in values):
            raise ConfigError(f"{where}: {kind} is {values!r:.80}; expected {len(columns)} values, each 0 or 1")
        labels.update({f"{kind}.{column}": bool(value) for column, value in zip(columns, values, strict=True)})
    return labels


def _emotions(
    marks: Mapping[str, Any], clip: Mapping[str, Any], where: str, listing: Listing, id: str
) -> Iterator[_Emotion]:
    emotion = _part(marks, "emotion", dict, where)
    if not _part(emotion, "sep_flag", bool, where):
        yield _Emotion(str(_part(emotion, "labels", str, where)))
        return
    duration = _part(clip, "duration", dict, where)
    length_s = _seconds(duration, "end_sec", where) - _seconds(duration, "start_sec", where)
    for interval in _part(emotion, "labels", list, where):
        start_s, end_s = _seconds(interval, "start_sec", where), _seconds(interval, "end_sec", where)
        if 0 <= start_s < end_s <= length_s + _SLACK_S:
            yield _Emotion(str(_part(interval, "emotion", str, where)), start_s, end_s)
        else:
            listing.drop("an interval of an emotion that is empty or outside the clip", f"{id}@{start_s}-{end_s}")


def _splits(folder: UnpackedFolder) -> Mapping[str, str]:
    """The split of each id, if there are lists; a list may name files."""
    found: dict[str, str] = {}
    for name in ("train", "val", "test"):
        if not folder.has(f"{name}.txt"):
            continue
        for place, line in folder.lines(f"{name}.txt"):
            if found.setdefault(line.removesuffix(".mp4"), name) != name:
                raise ConfigError(
                    f"{place}: {line} is in {found[line.removesuffix('.mp4')]}.txt too; expected it in one"
                )
    return {id: SPLITS[name] for id, name in found.items()}


def _part(whole: Any, key: str, kind: type, where: str) -> Any:
    value = whole.get(key) if isinstance(whole, dict) else None
    if not isinstance(value, kind):
        raise ConfigError(f"{where}: {key} is {value!r:.60}; expected a {kind.__name__}, as in {_INFO} of CelebV-HQ")
    return value


def _seconds(whole: Any, key: str, where: str) -> float:
    value = whole.get(key) if isinstance(whole, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise ConfigError(f"{where}: {key} is {value!r:.60}; expected seconds")
    return float(value)
