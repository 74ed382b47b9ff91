"""What a probe learns from: a dump's features, one row or one sequence a video, with labels, groups and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.dump.reading import FeatureDump
from marlin_sdk.errors import ConfigError, FeatureFileError
from marlin_sdk.features import VideoFeatures

__all__ = ["METADATA", "Pooling", "Samples", "groups_and_splits", "pool_rows", "read_samples"]

Pooling = Literal["mean", "mean+std", "sequence", "none"]
"""What becomes of a video's windows: their mean; mean and standard deviation; all of them at once, for `attentive`; or
each a row of its own, with the video's label, whose scores are averaged."""

METADATA = ("duration_s", "windows", "fps", "bytes", "bytes_per_s", "face_px")
"""Facts of a file that should not predict its label; where they do, the label leaks. Bytes are of whole files only."""

_MAX_VECTORS = 64  # of a window: pools have up to 8, all tokens of a clip are 1,568
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Samples:
    """The videos of a dump, ready for a probe; with pooling "none" their windows, each a row.

    Attributes:
        ids: (N,) str.
        features: float32 (N, F); with pooling "sequence" the windows of all videos, one after the other (W, F).
        ends: int64 (N,), with "sequence" the row of `features` after each video's last; else empty.
        windows: int32 (N,), with "none" the number of the window in its video; else -1, the whole video.
        labels: the labels of each row; empty where they are not needed any more.
        groups: (N,) str: what must not be in two splits. The label `group`, or else the source.
        splits: (N,) str: the label `split`; empty texts without one.
        metadata: float32 (N, M), NaN where it is not known; see `METADATA`.
        weights: identity of the weights.
        settings: settings of the dump.
        notes: what was left out, in words.
    """

    ids: NDArray[np.str_]
    features: NDArray[np.float32]
    ends: NDArray[np.int64]
    windows: NDArray[np.int32]
    labels: tuple[dict[str, Any], ...]
    groups: NDArray[np.str_]
    splits: NDArray[np.str_]
    metadata: NDArray[np.float32]
    weights: str
    settings: dict[str, Any]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_videos(self) -> int:
        """Videos, of which a row may be a window."""
        return len(set(self.ids.tolist()))

    @property
    def is_sequence(self) -> bool:
        """Whether a video is a sequence of rows."""
        return bool(len(self.ends))

    def select(self, rows: NDArray[np.int64]) -> Samples:
        """Some of the rows, by their index, in that order."""
        features, ends = self.features[rows] if not self.is_sequence else self.features, self.ends
        if self.is_sequence:
            starts = np.concatenate([[0], self.ends[:-1]])
            pieces = [self.features[starts[row] : self.ends[row]] for row in rows]
            features = np.concatenate(pieces) if pieces else self.features[:0]
            ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
        return replace(
            self,
            ids=self.ids[rows],
            features=features,
            ends=ends,
            windows=self.windows[rows],
            labels=tuple(self.labels[row] for row in rows) if self.labels else (),
            groups=self.groups[rows],
            splits=self.splits[rows],
            metadata=self.metadata[rows],
        )


def pool_rows(features: VideoFeatures, pooling: Pooling) -> NDArray[np.float32]:
    """The windows of a video as a probe sees them.

    Args:
        features: of one video, (N, D), or (N, P, D) with one of the pools of several vectors, which are joined.
        pooling: see `Pooling`.
    Returns:
        float32 (F,), or (N, F) for "sequence" and "none".
    Raises:
        ConfigError: the features are all tokens of each clip, or no windows are left.
    """
    rows = features.features
    if features.is_reduced:
        rows = rows[None]
    if not len(rows):
        raise ConfigError("no windows; at least one is needed")
    if rows.ndim > 2 and rows.shape[1] > _MAX_VECTORS:
        raise ConfigError(
            f"features of shape {rows.shape} hold every token of a window, which is too much for a row; extract "
            "without keep_seq, or with pool='time' or 'regions'"
        )
    flat = rows.reshape(len(rows), -1)
    if pooling in ("sequence", "none"):
        return flat
    mean = flat.mean(axis=0, dtype=np.float64)
    parts = [mean] if pooling == "mean" else [mean, flat.std(axis=0, dtype=np.float64)]
    return np.concatenate(parts).astype(np.float32)


def read_samples(
    dump: FeatureDump, *, pooling: Pooling = "mean", progress: Callable[[int, int], None] | None = None
) -> Samples:
    """Read a dump video by video; only what is pooled stays in memory.

    Args:
        dump: the dump; its labels come from the table that it was extracted with.
        pooling: see `Pooling`.
        progress: called with the number of videos read, and of all.
    Returns:
        The videos that have features, in the order of the dump's files.
    Raises:
        ConfigError: an unknown pooling, no video with features, several weights in one dump, or features that are NaN
            or of several sizes; the message names the video.
        FeatureFileError: a file of the dump cannot be read.
    """
    if pooling not in get_args(Pooling):
        raise ConfigError(f"pooling is {pooling!r}; expected one of {', '.join(get_args(Pooling))}")
    # by file, as they lie on disk: each row group is read once
    ids = sorted((id for id in dump if dump.entries[id].rows), key=lambda id: dump.entries[id].file or "")
    without = [id for id in dump.entries if id not in dump or not dump.entries[id].rows]
    if not ids:
        raise ConfigError(f"{dump.folder} holds no features of any video")
    weights = sorted({dump.entries[id].weights for id in ids})
    if len(weights) > 1:
        raise ConfigError(
            f"{dump.folder} holds features of {len(weights)} weights ({', '.join(weights[:_NAMED])}), which cannot be "
            "compared; extract all videos with the same"
        )
    rows: list[NDArray[np.float32]] = []
    metadata: list[list[float]] = []
    for count, (id, features) in enumerate(_read(dump, ids), start=1):
        try:
            row = pool_rows(features, pooling)
        except ConfigError as error:
            raise ConfigError(f"{dump.folder}: {id}: {error}") from error
        if not np.isfinite(row).all():
            raise ConfigError(f"{dump.folder}: the features of {id} hold NaN or infinity; extract this video again")
        if rows and row.shape[-1] != rows[0].shape[-1]:
            raise ConfigError(
                f"{dump.folder}: {id} has features of {row.shape[-1]} numbers, {ids[0]} of {rows[0].shape[-1]}; "
                "extract all videos with the same settings"
            )
        rows.append(row)
        metadata.append(_metadata(dump, id, features))
        if progress is not None:
            progress(count, len(ids))
    labels = tuple(dict(dump.labels(id)) for id in ids)
    counts = [len(row) if row.ndim > 1 else 1 for row in rows]
    groups, splits, ungrouped = groups_and_splits(labels, [dump.entries[id].source for id in ids])
    samples = Samples(
        ids=np.array(ids),
        features=np.concatenate([np.atleast_2d(row) for row in rows]),
        ends=np.cumsum(counts, dtype=np.int64) if pooling == "sequence" else np.empty(0, np.int64),
        windows=np.full(len(ids), -1, np.int32),
        labels=labels,
        groups=groups,
        splits=splits,
        metadata=np.array(metadata, dtype=np.float32),
        weights=weights[0],
        settings=dump.settings,
        notes=(*_without_features(without), *ungrouped),
    )
    return _by_window(samples, counts) if pooling == "none" else samples


def _by_window(samples: Samples, counts: Sequence[int]) -> Samples:
    """Each window a row, of the features that are there already."""
    videos = replace(samples, features=np.empty((len(samples), 0), np.float32))
    repeated = videos.select(np.repeat(np.arange(len(samples)), counts))
    numbers = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    return replace(repeated, features=samples.features, windows=numbers)


def groups_and_splits(
    labels: Sequence[dict[str, Any]], sources: Sequence[str]
) -> tuple[NDArray[np.str_], NDArray[np.str_], tuple[str, ...]]:
    """What must not be in two splits, and in which split each video is.

    Args:
        labels: of each video.
        sources: the file of each.
    Returns:
        Groups (N,), the label `group`, or else the source; splits (N,), empty without one; and notes.
    Raises:
        ConfigError: some videos have a group, and some have none.
    """
    groups = [_text(own.get("group")) for own in labels]
    ungrouped, notes = groups.count(""), []
    if ungrouped == len(groups):
        notes.append("no column `group`: the parts of one source file are one group, and people may be on both sides")
    elif ungrouped:
        raise ConfigError(f"{ungrouped} of {len(groups)} videos have no `group`; give each one, or none of them")
    named = [group or source for group, source in zip(groups, sources, strict=True)]
    return np.array(named), np.array([_text(own.get("split")) for own in labels]), tuple(notes)


def _read(dump: FeatureDump, ids: Sequence[str]) -> Iterator[tuple[str, VideoFeatures]]:
    for id in ids:
        yield id, dump[id]


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _without_features(ids: Sequence[str]) -> list[str]:
    return [f"{len(ids)} videos have no features, such as {', '.join(ids[:_NAMED])}"] if ids else []


def _metadata(dump: FeatureDump, id: str, features: VideoFeatures) -> list[float]:
    """See `METADATA`."""
    entry = dump.entries[id]
    video = features.meta.get("video")
    fps = video.get("fps") if isinstance(video, dict) else None
    duration_s = entry.duration_s if entry.duration_s else np.nan
    size = _size(entry.source) if entry.part == (None, None, None) else np.nan  # of a part it is not known
    widths = (features.boxes[..., 2] - features.boxes[..., 0])[features.frame_valid]
    face_px = float(widths.mean()) if widths.size else np.nan
    return [duration_s, float(entry.rows), fps or np.nan, size, size / duration_s, face_px]


def _size(source: str) -> float:
    try:
        return float(Path(source).stat().st_size)
    except (OSError, ValueError):  # a URL, or a file that has moved
        return np.nan


def same_videos(samples: Samples, other: Samples) -> Samples:
    """The other dump's samples in the order of these.

    Raises:
        FeatureFileError: it lacks some of these videos; the message names them.
    """
    at = {key: row for row, key in enumerate(_keys(other))}
    keys = _keys(samples)
    if missing := list(dict.fromkeys(id for id, window in keys if (id, window) not in at)):
        raise FeatureFileError(
            f"the dump to compare with lacks {len(missing)} of {samples.num_videos} videos{_of_them(samples)}, such as "
            f"{', '.join(missing[:_NAMED])}; extract the same table with both models"
        )
    return other.select(np.array([at[key] for key in keys], dtype=np.int64))


def _of_them(samples: Samples) -> str:
    return ", or windows of them" if samples.num_videos < len(samples) else ""


def _keys(samples: Samples) -> list[tuple[str, int]]:
    return list(zip(samples.ids.tolist(), samples.windows.tolist(), strict=True))
