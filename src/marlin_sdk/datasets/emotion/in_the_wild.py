"""DFEW, FERV39k and MAFW: clips in the wild, with lists of a label for each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from marlin_sdk.datasets.listing import Listing
from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.datasets.unpacked import UnpackedFolder, stem
from marlin_sdk.errors import ConfigError

__all__ = ["read_dfew", "read_ferv39k", "read_mafw"]

_DFEW = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
_SPLITS = ("train", "test")
_FRAMES = "Clip/jpg_256"
_FACES = "2_ClipsforFaceCrop"
_NO_VAL = "There is no validation part: take one from the training part, never the test part."


class _Listed(NamedTuple):
    """A clip of a list, and its file if that is there."""

    name: str
    split: str
    emotion: str
    file: str | None


def read_dfew(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read one of the five folds of DFEW.

    The label is `emotion`, 1 to 7 in the lists. A clip is a folder of frames. The group, the film, is not published.
    """

    def listed() -> Iterator[_Listed]:
        for split in _SPLITS:
            base, fold = f"EmoLabel_DataSplit/{split}(single-labeled)", options["fold"]
            list_name = folder.need(f"{base}/set_{fold}.csv", f"{base}/{split}_set_{fold}.csv")
            for place, row in folder.rows(list_name, "video_name", "label"):
                if not re.fullmatch(r"\d+", row["video_name"]) or row["label"] not in map(str, range(1, 8)):
                    raise ConfigError(f"{place}: {row}; expected a number, and a label of 1 to 7")
                name = f"{int(row['video_name']):05d}"
                file = f"{_FRAMES}/{name}"
                yield _Listed(name, split, _DFEW[int(row["label"]) - 1], file if folder.has(file) else None)

    folder.need(_FRAMES)
    listing = _clips(folder, listed(), f"fold {options['fold']} of 5")
    listing.find_unlisted(
        (f"{_FRAMES}/{name}" for name in folder.folders(_FRAMES)),
        [*(f"{_FRAMES}/{clip.id}" for clip in listing.clips)],
    )
    return listing


def read_ferv39k(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read FERV39k, all scenes.

    Labels are `emotion` and `scene`. A clip is a folder of frames, or a video. The group is not published.
    """

    def listed() -> Iterator[_Listed]:
        for split in _SPLITS:
            for place, line in folder.lines(folder.need(f"4_setups/All_scenes/{split}_All.csv")):
                match = re.fullmatch(r"([^/]+/[^/]+/\S+)\s+(\w+)", line)
                if match is None:
                    raise ConfigError(f"{place}: {line!r:.80}; expected 'Scene/Emotion/0001 Emotion'")
                file = folder.first(f"{_FACES}/{match[1]}", f"{_FACES}/{match[1]}.mp4", f"{_FACES}/{match[1]}.avi")
                yield _Listed(match[1], split, match[2].lower(), file)

    folder.need(_FACES)
    listing = _clips(folder, listed(), "official", scene=True)
    there = [
        f"{scene}/{emotion}/{name}"
        for scene in folder.folders(_FACES)
        for emotion in folder.folders(f"{_FACES}/{scene}")
        for name in folder.folders(f"{_FACES}/{scene}/{emotion}")
    ]
    videos = [f"{name.removeprefix(_FACES + '/').rpartition('.')[0]}" for name in folder.files(_FACES)]
    listing.find_unlisted([*there, *videos], (clip.id for clip in listing.clips))
    return listing


def read_mafw(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read one of the five folds of MAFW's single-labelled clips.

    The label is `emotion`, one of 11. The group is not published.
    """

    def listed() -> Iterator[_Listed]:
        for split in _SPLITS:
            tail = f"single/no_caption/set_{options['fold']}/{split}.txt"
            for place, line in folder.lines(folder.need(f"split/{tail}", f"Train & Test Set/{tail}")):
                match = re.fullmatch(r"(\S+\.\w+)\s+(\w+)", line)
                if match is None:
                    raise ConfigError(f"{place}: {line!r:.80}; expected '00025.mp4 anger'")
                yield _Listed(stem(match[1]), split, match[2].lower(), folder.find(stem(match[1])))

    listing = _clips(folder, listed(), f"fold {options['fold']} of 5")
    listing.find_unlisted(folder.by_stem, [clip.id for clip in listing.clips])
    return listing


def _clips(folder: UnpackedFolder, listed: Iterator[_Listed], split_by: str, *, scene: bool = False) -> Listing:
    """The clips of the lists whose files are there.

    Raises:
        ConfigError: a clip is in both lists.
    """
    listing, splits = Listing(split_by=split_by, notes=[_NO_VAL]), dict[str, str]()
    for one in listed:
        if splits.setdefault(one.name, one.split) != one.split:
            raise ConfigError(f"{folder.root}: {one.name} is in the training and the test list; expected it in one")
        if one.file is None:
            listing.absent.append(one.name)
            continue
        labels: dict[str, Label] = {"emotion": one.emotion}
        if scene:
            labels["scene"] = one.name.partition("/")[0]
        listing.clips.append(Clip(folder.path(one.file), one.name, labels=labels, split=one.split))
    return listing
