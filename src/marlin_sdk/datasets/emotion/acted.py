"""RAVDESS, CREMA-D and MEAD: actors who play an emotion; the name of a file says which."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping

from marlin_sdk.datasets.listing import Listing
from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.datasets.unpacked import UnpackedFolder, stem
from marlin_sdk.errors import ConfigError

__all__ = ["read_crema_d", "read_mead", "read_ravdess"]

_RAVDESS = re.compile(r"(0[12])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(\d\d)")
_RAVDESS_EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
_MODALITIES = {"audio-video": "01", "video": "02"}
_ACTORS_A_FOLD = 4

_CREMA_D = re.compile(r"(\d{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX)")
_CREMA_D_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgust",
    "FEA": "fearful",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
_FIRST_ACTORS = (1001, 1019, 1037, 1055, 1073)  # of MAE-DFER's five folds: github.com/sunlicai/MAE-DFER, saved/data
_LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified"}
_DEMOGRAPHICS = ("Age", "Sex", "Race", "Ethnicity")

_SEX = {"M": "male", "W": "female"}
_MEAD_TREE = re.compile(
    r"(?:.*/)?([MW]\d{3})/video/(?P<view>[a-z]+(?:_\d+)?)/(?P<emotion>[a-z]+)/level_(?P<level>\d)/(?P<take>\d+)\.\w+"
)
_MEAD_NAMES = (
    re.compile(r"(?:.*/)?([MW]\d{3})_(?P<emotion>[a-z]+)_(?P<level>\d)_(?P<take>\d+)\.\w+"),
    re.compile(r"(?:.*/)?([MW]\d{3})_level_(?P<level>\d)_(?P<emotion>[a-z]+)_(?P<take>\d+)\.\w+"),
)


def read_ravdess(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read RAVDESS.

    Labels are `emotion`, `intensity` (1 normal, 2 strong), `statement`, `repetition`, `song`, `sex` and `fold`, of four
    consecutive actors each, 1 to 6. The same performance is there with sound and without: the option `modality` takes
    one of them. The group is the actor. There is no official split; the option `fold` makes that fold the test part.
    """
    listing = Listing(strata=("emotion",))
    modality, test = _MODALITIES[options["modality"]], options["fold"]
    if test != "none":
        listing.split_by = f"fold {test} of 6"
    for file in folder.files():
        match = _RAVDESS.fullmatch(stem(file))
        if match is None:
            listing.unlisted.append(file)
            continue
        kind, channel, emotion, intensity, statement, repetition, actor = match.groups()
        if kind != modality:
            listing.drop(f"the modality is {kind}, and {modality} was asked for", file)
            continue
        if re.search(r"Actor_(\d\d)/", file) and f"Actor_{actor}/" not in file:
            raise ConfigError(f"{folder.path(file)}: the name says actor {actor}, its folder another one")
        fold = (int(actor) - 1) // _ACTORS_A_FOLD + 1
        labels: dict[str, Label] = {
            "emotion": _RAVDESS_EMOTIONS[int(emotion) - 1],
            "intensity": int(intensity),
            "statement": int(statement),
            "repetition": int(repetition),
            "song": channel == "02",
            "sex": "male" if int(actor) % 2 else "female",
            "fold": fold,
        }
        split = "" if test == "none" else "test" if fold == int(test) else "train"
        listing.clips.append(
            Clip(folder.path(file), f"Actor_{actor}/{stem(file)}", labels=labels, split=split, group=f"actor-{actor}")
        )
    if not listing.clips and not listing.dropped:
        raise folder.incomplete("video with a name like 01-01-03-01-02-01-12.mp4")
    return listing


def read_crema_d(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read CREMA-D.

    Labels are `emotion`, `level` (low, medium, high, unspecified), `sentence` and `fold`, 1 to 5, of 18 consecutive
    actors each (the last of 19); and those of the actor: `age`, `sex`, `race`, `ethnicity`. The group is the actor.
    There is no official split; the option `fold` makes that fold the test part.
    """
    listing, people, test = Listing(strata=("emotion",)), _demographics(folder), options["fold"]
    if test != "none":
        listing.split_by = f"fold {test} of 5"
    if not people:
        listing.notes.append("There is no VideoDemographics.csv: age, sex, race and ethnicity are left out.")
    unknown = set[str]()
    for file in folder.files(folder.need("VideoFlash")):
        match = _CREMA_D.fullmatch(stem(file))
        if match is None:
            listing.unlisted.append(file)
            continue
        actor, sentence, emotion, level = match.groups()
        if people and actor not in people:
            unknown.add(actor)
        fold = bisect_right(_FIRST_ACTORS, int(actor))
        labels: dict[str, Label] = {
            "emotion": _CREMA_D_EMOTIONS[emotion],
            "level": _LEVELS[level],
            "sentence": sentence,
            "fold": fold,
            **people.get(actor, {}),
        }
        split = "" if test == "none" else "test" if fold == int(test) else "train"
        listing.clips.append(Clip(folder.path(file), stem(file), labels=labels, split=split, group=f"actor-{actor}"))
    if unknown:
        listing.notes.append(f"VideoDemographics.csv has no line of the actors {', '.join(sorted(unknown))}.")
    return listing


def _demographics(folder: UnpackedFolder) -> Mapping[str, dict[str, Label]]:
    people: dict[str, dict[str, Label]] = {}
    if not folder.has("VideoDemographics.csv"):
        return people
    for place, row in folder.rows("VideoDemographics.csv", "ActorID", *_DEMOGRAPHICS):
        if not re.fullmatch(r"\d{1,3}", row["Age"]):
            raise ConfigError(f"{place}: Age is {row['Age']!r}; expected years")
        people[row["ActorID"]] = {"age": int(row["Age"]), **{key.lower(): row[key] for key in _DEMOGRAPHICS[1:]}}
    return people


def read_mead(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read MEAD, in its own tree (`M003/video/front/angry/level_1/001.mp4`) or as flat names with emotion and level.

    Labels are `emotion`, `level`, `sex` and, in the tree, `view`. Each performance is filmed from several
    sides: the option `view` takes one of them. The group is the person. There is no official split.
    """
    listing = Listing(strata=("emotion",))
    for file in folder.files():
        tree = _MEAD_TREE.fullmatch(file)
        match = tree or next(filter(None, (pattern.fullmatch(file) for pattern in _MEAD_NAMES)), None)
        if match is None:
            listing.unlisted.append(file)
            continue
        if tree and options["view"] not in ("all", tree["view"]):
            listing.drop(f"the view is not {options['view']}", file)
            continue
        labels: dict[str, Label] = {
            "emotion": match["emotion"],
            "level": int(match["level"]),
            "sex": _SEX[match[1][0]],
        }
        id = stem(file)
        if tree:
            labels["view"] = tree["view"]
            id = f"{match[1]}/{tree['view']}/{match['emotion']}/level_{match['level']}/{match['take']}"
        listing.clips.append(Clip(folder.path(file), id, labels=labels, group=match[1]))
    if not listing.clips and not listing.dropped:
        raise folder.incomplete("video with such a name")
    return listing
