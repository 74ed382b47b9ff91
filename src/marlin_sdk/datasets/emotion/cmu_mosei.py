"""CMU-MOSEI: segments of videos with sentiment and emotions, from the SDK's file or MMSA's table."""

from __future__ import annotations

import ast
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from marlin_sdk.datasets.listing import SPLITS, Listing
from marlin_sdk.datasets.table import Clip, Label
from marlin_sdk.datasets.unpacked import UnpackedFolder
from marlin_sdk.errors import ConfigError, MissingExtraError

__all__ = ["read"]

_CSD = ("CMU_MOSEI_Labels.csd", "Labels/CMU_MOSEI_Labels.csd", "Raw/Labels/CMU_MOSEI_Labels.csd")
_VIDEOS = "Raw/Videos/Full/Combined"
_FOLDS = "cmu_mosei_std_folds.py"
_EMOTIONS = ("happy", "sad", "anger", "surprise", "disgust", "fear")
_MAX_ROWS = 100_000  # of one video
_MODES = "train, valid or test"


class _Segment(NamedTuple):
    start_s: float
    end_s: float
    values: tuple[float, ...]


def read(folder: UnpackedFolder, options: Mapping[str, str]) -> Listing:
    """Read CMU-MOSEI.

    Labels are `sentiment` in [-3, 3]; its two readings in two classes, which results must not mix:
    `sentiment_nonnegative` (below 0, or not) and `sentiment_positive` (below 0, or above; unknown at 0); `sentiment_7`,
    where 0 stays alone and the rest is rounded away from it; and of the SDK's file, `emotion.<name>` (above 0) and
    `intensity.<name>` in [0, 3].

    The SDK's file has segments of whole videos. Some of its times are relative to an unknown start: `marlin-sdk data
    --check` finds those that lie outside the video. The group is the video.
    """
    if (table := folder.first("label.csv")) and not folder.first(*_CSD):
        return _from_table(folder, table)
    return _from_sdk(folder, folder.need(*_CSD, "label.csv"))


def sentiment_labels(value: float) -> dict[str, Label]:
    """The labels that a sentiment in [-3, 3] gives."""
    return {
        "sentiment": value,
        "sentiment_nonnegative": value >= 0,
        "sentiment_positive": None if value == 0 else value > 0,
        "sentiment_7": int(math.copysign(math.ceil(abs(value)), value)),
    }


def _from_table(folder: UnpackedFolder, table: str) -> Listing:
    listing, listed = Listing(split_by="official"), list[str]()
    folder.need("Raw")
    for place, row in folder.rows(table, "video_id", "clip_id", "label", "mode"):
        name = f"{row['video_id']}/{row['clip_id']}"
        file = f"Raw/{name}.mp4"
        listed.append(file)
        value, split = _sentiment(row["label"], place), SPLITS.get(row["mode"].lower())
        if split is None:
            raise ConfigError(f"{place}: mode is {row['mode']!r}; expected {_MODES}")
        if not folder.has(file):
            listing.absent.append(name)
            continue
        labels = sentiment_labels(value)
        listing.clips.append(Clip(folder.path(file), name, labels=labels, split=split, group=row["video_id"]))
    listing.find_unlisted(folder.files("Raw"), listed)
    return listing


def _from_sdk(folder: UnpackedFolder, csd: str) -> Listing:
    listing, folds = Listing(strata=("sentiment_7",)), _folds(folder)
    folder.need(_VIDEOS)
    if folds:
        listing.split_by = "official"
    else:
        listing.notes.append(f"The official split is in {_FOLDS} of the CMU Multimodal SDK: put it beside the labels.")
    listed, unsplit = list[str](), list[str]()
    for video, segments in _videos(folder, csd):
        file = f"{_VIDEOS}/{video}.mp4"
        listed.append(file)
        if not folder.has(file):
            listing.absent.append(video)
            continue
        if folds and video not in folds:
            unsplit.append(video)
            continue
        for segment in segments:
            id = f"{video}@{segment.start_s:.2f}-{segment.end_s:.2f}"
            if not 0 <= segment.start_s < segment.end_s:
                listing.drop("an interval that is empty or starts before the video", id)
                continue
            labels = sentiment_labels(segment.values[0])
            intensities = dict(zip(_EMOTIONS, (min(value, 3.0) for value in segment.values[1:]), strict=True))
            labels.update({f"emotion.{name}": value > 0 for name, value in intensities.items()})
            labels.update({f"intensity.{name}": value for name, value in intensities.items()})
            span = segment.start_s, segment.end_s
            listing.clips.append(Clip(folder.path(file), id, *span, labels, folds.get(video, ""), video))
    if unsplit:
        listing.dropped["the video is in none of the official folds"] = unsplit
    listing.find_unlisted(folder.files(_VIDEOS), listed)
    _drop_repeated(listing)
    return listing


def _drop_repeated(listing: Listing) -> None:
    """Leave out all segments of one interval: it is not known which labels are right."""
    counts = Counter(clip.id for clip in listing.clips)
    for clip in listing.clips:
        if counts[clip.id] > 1:
            listing.drop("another segment has the same interval", clip.id)
    listing.clips = [clip for clip in listing.clips if counts[clip.id] == 1]


def _videos(folder: UnpackedFolder, csd: str) -> Iterator[tuple[str, list[_Segment]]]:
    """The segments of each video in the order of time, which is not that of the file."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("CMU-MOSEI's .csd file", "datasets") from error
    path = folder.path(csd)
    try:
        with h5py.File(path, "r") as file:
            data = _member(_member(file, "All Labels", str(path)), "data", f"{path}, All Labels")
            for video in sorted(data):
                where = f"{path}, video {video!r}"
                entry = _member(data, video, str(path))
                values = _array(_member(entry, "features", where), 7, f"{where}, features")
                times = _array(_member(entry, "intervals", where), 2, f"{where}, intervals")
                if len(values) != len(times):
                    raise ConfigError(f"{where}: {len(values)} rows of features, {len(times)} intervals")
                yield (
                    video,
                    sorted(
                        _Segment(start_s, end_s, tuple(row))
                        for (start_s, end_s), row in zip(times, values, strict=True)
                    ),
                )
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} cannot be read as HDF5: {error}") from error


def _member(group: Any, name: str, where: str) -> Any:
    """A member of a group, if it lies in the same file: a link may lead to any other file of the machine."""
    import h5py

    link = group.get(name, getlink=True) if isinstance(group, h5py.Group) else None
    if link is None:
        raise ConfigError(f"{where} has no {name!r}; expected the labels of CMU-MOSEI")
    if not isinstance(link, h5py.HardLink):
        raise ConfigError(f"{where}: {name!r} is a link to elsewhere; it is refused")
    return group[name]


def _array(dataset: Any, width: int, where: str) -> list[list[float]]:
    import h5py
    import numpy as np

    if not isinstance(dataset, h5py.Dataset) or dataset.external or dataset.is_virtual:
        raise ConfigError(f"{where} is no array in this file; expected one")
    shape = dataset.shape
    if len(shape) != 2 or shape[1] != width or shape[0] > _MAX_ROWS or dataset.dtype.kind not in "fiu":
        raise ConfigError(f"{where}: {dataset.dtype} {shape}; expected numbers (rows, {width})")
    array = np.asarray(dataset[()], dtype=np.float64)
    if not np.isfinite(array).all():
        raise ConfigError(f"{where} has values that are no numbers")
    rows: list[list[float]] = array.tolist()
    return rows


def _folds(folder: UnpackedFolder) -> Mapping[str, str]:
    """The split of each video, from the SDK's Python file, which is not run: its lists are read."""
    name = folder.first(_FOLDS, *(f"{csd.rpartition('/')[0]}/{_FOLDS}" for csd in _CSD if "/" in csd))
    if name is None:
        return {}
    path = folder.path(name)
    try:
        lists = {
            match[1]: ast.literal_eval(statement.value)
            for statement in ast.parse(folder.text(name)).body
            if isinstance(statement, ast.Assign)
            and isinstance(target := statement.targets[0], ast.Name)
            and (match := re.fullmatch(r"standard_(train|valid|test)_fold", target.id))
        }
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"{path}, line {getattr(error, 'lineno', '?')}: {error}; expected lists of names") from error
    if set(lists) != {"train", "valid", "test"}:
        raise ConfigError(
            f"{path} has the lists {sorted(lists)}; expected standard_train_fold, _valid_fold, _test_fold"
        )
    return {str(video): SPLITS[split] for split, videos in lists.items() for video in videos}


def _sentiment(text: str, place: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not -3 <= value <= 3:
        raise ConfigError(f"{place}: label is {text!r}; expected a sentiment of -3 to 3")
    return value
