"""FaceForensics++ and DeepFakeDetection: originals and manipulations, in a folder for each method."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple, TypeAlias

from marlin_sdk.datasets.listing import Listing
from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.datasets.unpacked import UnpackedFolder, stem
from marlin_sdk.errors import ConfigError

__all__ = ["read"]

_DFD = "DeepFakeDetection"
_PAIR = re.compile(r"(\d+)_(\d+)")
_ACTOR = re.compile(r"(\d+)(?:_\d+)?__.+")
_SPLITS = ("train", "val", "test")
_Official: TypeAlias = Mapping[str, tuple[str, tuple[str, ...]]]


class _Kind(NamedTuple):
    """A folder of videos, and what they are."""

    folder: str
    name: str
    method: str

    @property
    def is_fake(self) -> bool:
        return self.method != "original"


def read(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read FaceForensics++ at one compression.

    Labels are `fake` and `method`, which is "original" for a real video. The same name, such as 519_515, is a video of
    each method: ids begin with the method and the compression. The group is the pair of people, in one order. A pair of
    an official list means the two originals, and the fakes of both directions. DeepFakeDetection has no official split;
    its group is the actor whose video it is.
    """
    methods, compression = options["methods"].split(","), options["compression"]
    if _DFD in methods and len(methods) > 1:
        raise ConfigError(f"methods={options['methods']!r}: {_DFD} has no official split; read it into its own table")
    kinds = list(_kinds(methods, compression))
    videos = {kind: folder.files(kind.folder) for kind in kinds if folder.has(kind.folder)}
    if not videos:
        raise folder.incomplete(f"videos of the compression {compression}")
    listing, pairs = Listing(strata=("method",)), {} if methods == [_DFD] else _official(folder)
    if lacking := [kind.method for kind in kinds if kind not in videos]:
        listing.notes.append(f"There is no folder of {', '.join(lacking)} at {compression}.")
    if pairs:
        listing.split_by = "official"
        _find_absent(listing, pairs, videos)
    elif methods != [_DFD]:
        listing.notes.append("There is no splits/ folder with the official pairs; the data set's repository has it.")
    place = _of_actor if methods == [_DFD] else _Pairs(pairs, chain.from_iterable(videos.values())).place
    for kind, files in videos.items():
        for file in files:
            found = place(stem(file))
            if found is None:
                listing.unlisted.append(file)
                continue
            group, split = found
            id = f"{kind.name}/{compression}/{stem(file)}"
            labels: dict[str, Label] = {"fake": kind.is_fake, "method": kind.method}
            listing.clips.append(Clip(folder.path(file), id, labels=labels, split=split, group=group))
    return listing


def _of_actor(name: str) -> tuple[str, str] | None:
    """Group and split of a video of DeepFakeDetection."""
    match = _ACTOR.fullmatch(name)
    return (f"actor-{match[1]}", "") if match else None


class _Pairs:
    """Which people belong together: by the official lists, or by the names of the fakes."""

    def __init__(self, official: _Official, files: Iterable[str]) -> None:
        self._official = official
        self._partner = {name: pair for file in files if (pair := _pair(stem(file))) for name in pair}

    def place(self, name: str) -> tuple[str, str] | None:
        """Group and split of a video; None if it is in no official list."""
        pair = _pair(name) or self._partner.get(name, (name,))
        if not self._official:
            return "-".join(sorted(pair)), ""
        split, listed = self._official.get(pair[0], ("", ()))
        return ("-".join(sorted(listed)), split) if set(pair) <= set(listed) else None


def _kinds(methods: Sequence[str], compression: str) -> Iterator[_Kind]:
    real = "actors" if methods == [_DFD] else "youtube"
    yield _Kind(f"original_sequences/{real}/{compression}/videos", real, "original")
    for method in methods:
        yield _Kind(f"manipulated_sequences/{method}/{compression}/videos", method, method)


def _pair(name: str) -> tuple[str, ...]:
    match = _PAIR.fullmatch(name)
    return match.groups() if match else ()


def _official(folder: UnpackedFolder) -> _Official:
    """For each original, its split and its pair."""
    names = [f"splits/{split}.json" for split in _SPLITS]
    if not any(map(folder.has, names)):
        return {}
    found: dict[str, tuple[str, tuple[str, str]]] = {}
    for split, file in zip(_SPLITS, names, strict=True):
        pairs = folder.json(folder.need(file))
        if not isinstance(pairs, list):
            raise ConfigError(f"{folder.path(file)}: {type(pairs).__name__}; expected a list of pairs")
        for index, pair in enumerate(pairs):
            if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(one, str) for one in pair)):
                raise ConfigError(f"{folder.path(file)}, pair {index}: {pair!r:.60}; expected two names such as '071'")
            for one in pair:
                if one in found:
                    raise ConfigError(f"{folder.path(file)}, pair {index}: {one} is in another pair too")
                found[one] = split, (pair[0], pair[1])
    return found


def _find_absent(listing: Listing, pairs: _Official, videos: Mapping[_Kind, Sequence[str]]) -> None:
    there = {kind: {stem(file) for file in files} for kind, files in videos.items()}
    for name, (_, pair) in pairs.items():
        target = f"{name}_{pair[1] if name == pair[0] else pair[0]}"
        listing.absent += [
            f"{kind.name}/{expected}"
            for kind, names in there.items()
            if (expected := target if kind.is_fake else name) not in names
        ]
