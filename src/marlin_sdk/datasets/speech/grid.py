"""GRID: people who read sentences of six words; the name of a file spells the sentence."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from marlin_sdk.datasets.listing import Listing
from marlin_sdk.datasets.splits import MIN_GROUPS
from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.datasets.unpacked import UnpackedFolder, stem
from marlin_sdk.errors import ConfigError

__all__ = ["read", "sentence"]

_DIGITS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SILENT = ("sil", "sp")
_WORDS: Mapping[str, Mapping[str, str]] = {
    "verb": {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    "colour": {"b": "blue", "g": "green", "r": "red", "w": "white"},
    "preposition": {"a": "at", "b": "by", "i": "in", "w": "with"},
    "letter": {letter: letter for letter in "abcdefghijklmnopqrstuvwxyz"},
    "digit": {"z": "zero", **{str(value): word for value, word in enumerate(_DIGITS, start=1)}},
    "adverb": {"a": "again", "n": "now", "p": "please", "s": "soon"},
}


def sentence(name: str) -> dict[str, Label] | None:
    """The six words that a name of six characters spells, by kind; None if it spells none."""
    words = {kind: letters.get(letter) for (kind, letters), letter in zip(_WORDS.items(), name, strict=False)}
    return {**words} if len(name) == len(_WORDS) and None not in words.values() else None


def read(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read GRID, by sentence or by word.

    Of a sentence, labels are `verb`, `colour`, `preposition`, `letter`, `digit` and `adverb`. Of words, a row is a word
    of words.csv (id, word, start_s, end_s) with the labels `word` and `position` (1 to 6); silences are left out. The
    first folder is the speaker. The group is the speaker or, within one, the sentence (the option `group`).
    """
    listing, clips = Listing(strata=("word" if options["task"] == "words" else "verb",)), dict[str, Clip]()
    for file in folder.files():
        labels = sentence(stem(file))
        if labels is None or "/" not in file:
            listing.unlisted.append(file)
            continue
        speaker = file.partition("/")[0]
        id = f"{speaker}/{stem(file)}"
        group = speaker if options["group"] == "speaker" else id
        clips[id] = Clip(folder.path(file), id, labels=labels, group=group)
    if not clips:
        raise folder.incomplete("video of a sentence in a speaker's folder")
    speakers = {id.partition("/")[0] for id in clips}
    if options["group"] == "speaker" and len(speakers) < MIN_GROUPS:
        listing.notes.append(
            f"{len(speakers)} speakers are too few for a split by speaker; group=sentence splits within."
        )
    if options["task"] == "words":
        _read_words(folder, clips, listing)
    else:
        listing.clips += clips.values()
    return listing


def _read_words(folder: UnpackedFolder, clips: Mapping[str, Clip], listing: Listing) -> None:
    speakers = Counter(stem(id) for id in clips)
    only = {stem(id): id for id in clips if speakers[stem(id)] == 1}
    positions, silences, absent = Counter[str](), 0, dict[str, None]()
    for place, row in folder.rows(folder.need("words.csv"), "id", "word", "start_s", "end_s"):
        name = row["id"]
        if name not in clips and speakers[name] > 1:
            raise ConfigError(f"{place}: {name} is a sentence of {speakers[name]} speakers; expected 's1/{name}'")
        clip = clips.get(only.get(name, name))
        if clip is None:
            absent[name] = None
            continue
        if row["word"] in _SILENT:
            silences += 1
            continue
        start_s, end_s = _seconds(row["start_s"], place), _seconds(row["end_s"], place)
        if start_s >= end_s:
            raise ConfigError(f"{place}: from {start_s} to {end_s} s; expected the end after the start")
        positions[clip.id] += 1
        position = positions[clip.id]
        labels: dict[str, Label] = {"word": row["word"], "position": position}
        id = f"{clip.id}/{position}-{row['word']}"
        listing.clips.append(Clip(clip.path, id, start_s, end_s, labels, group=clip.group))
    listing.absent += absent
    listing.find_unlisted(clips, positions)
    if silences:
        listing.notes.append(f"{silences:,} silences (sil, sp) of words.csv are left out.")


def _seconds(text: str, place: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", text):
        raise ConfigError(f"{place}: {text!r}; expected seconds")
    return float(text)
