"""The rows of a table on prepared faces: which frames of which shards show the face of a labelled part of a video."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.clips.windows import Windows
from marlin_sdk.errors import ConfigError, MarlinError
from marlin_sdk.inputs.videos import VideoInput
from marlin_sdk.training.prepare.folder import DataFolder, Outcome
from marlin_sdk.training.prepare.shards import Sample, Shard, read_clip

__all__ = ["LeftOut", "Place", "WindowRule", "place_rows"]

_TICK_S = 1e-6  # times are kept in microseconds
LeftOut = dict[str, list[str]]
"""Ids of rows, by the reason why they cannot be used."""


@dataclass(frozen=True)
class WindowRule:
    """How windows are taken from a clip: those of `ExtractionConfig` with the same numbers.

    Attributes:
        clip_frames: frames of a window.
        sample_rate: source frames from one frame of a window to the next.
        stride: sampled frames from one window to the next.
    """

    clip_frames: int = 16
    sample_rate: int = 2
    stride: int = 16

    @property
    def needed(self) -> int:
        """Frames of a window that must show the face."""
        return (self.clip_frames + 1) // 2


@dataclass(frozen=True)
class Place:
    """Where the frames of a row lie.

    Attributes:
        id: of the row.
        first: number of the source frame with which the row begins.
        last: the last source frame of the row that shows the face.
        pieces: the frames that show it, a little before and after the row too where that was asked for: shard, sample,
            index of the first frame in the sample, and number of frames.
        fps: source frames a second.
        start_s: time of frame `first`.
    """

    id: str
    first: int
    last: int
    pieces: tuple[tuple[Shard, Sample, int, int], ...]
    fps: float
    start_s: float

    def frames(self) -> NDArray[np.int64]:
        """The numbers of the source frames that show the face, ascending."""
        return np.concatenate(
            [sample.first_frame + begin + np.arange(count) for _, sample, begin, count in self.pieces]
        )

    def windows(self, plan: WindowRule) -> list[NDArray[np.int64]]:
        """The source frames of each window that an extraction takes; those that show too little of the face are not."""
        rule = Windows(plan.clip_frames, plan.stride)
        num_steps = -(-(self.last - self.first + 1) // plan.sample_rate)
        shown = set(self.frames().tolist())
        found = []
        for index in range(rule.count(num_steps)):
            window = rule.ready(index, num_steps) or rule.rest(index, num_steps)
            assert window is not None
            frames = self.first + np.array(window.steps, dtype=np.int64) * plan.sample_rate
            real = [int(frame) for frame, ok in zip(frames, window.valid, strict=True) if ok]
            if sum(frame in shown for frame in real) * 2 >= len(real):
                found.append(frames)
        return found

    def random_window(self, plan: WindowRule, random: np.random.Generator) -> NDArray[np.int64]:
        """The source frames of a window with a random start; of a short clip, all of it, the last frame repeated."""
        frames = self.frames()
        low, high = int(frames[0]), int(frames[-1])
        steps = np.arange(plan.clip_frames) * plan.sample_rate
        shown = np.zeros(high - low + 1, dtype=np.bool_)
        shown[frames - low] = True
        num_starts = len(shown) - int(steps[-1])
        if num_starts <= 0:
            return low + np.minimum(steps, (high - low) // plan.sample_rate * plan.sample_rate)
        covered = shown[np.arange(num_starts)[:, None] + steps].sum(axis=1)
        starts = np.flatnonzero(covered >= min(plan.needed, int(covered.max())))
        return low + int(random.choice(starts)) + steps

    def read(self, frames: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The crops of some frames, uint8 (T, S, S, 3); one that does not show the face is the nearest that does.

        Args:
            frames: source frames, ascending.
        Raises:
            VideoDecodeError: a shard is truncated or damaged.
        """
        shown = set(self.frames().tolist())
        present = [place for place, frame in enumerate(frames.tolist()) if frame in shown]
        chosen = [int(frames[min(present, key=lambda other: abs(other - place))]) for place in range(len(frames))]
        order = sorted(set(chosen))
        crops: dict[int, NDArray[np.uint8]] = {}
        for shard, sample, begin, count in self.pieces:
            first = sample.first_frame + begin
            own = [frame for frame in order if first <= frame < first + count]
            if own:
                read = read_clip(shard, sample, [frame - sample.first_frame for frame in own])
                crops.update(zip(own, read, strict=True))
        return np.stack([crops[frame] for frame in chosen])

    def time_s(self, frame: int) -> float:
        """Time of a source frame."""
        return self.start_s + (frame - self.first) / self.fps


def place_rows(
    rows: Sequence[VideoInput], data: DataFolder, plan: WindowRule, *, jitter_s: float = 0.0
) -> tuple[list[Place | None], LeftOut, list[str]]:
    """Find the frames of each row.

    Args:
        rows: of a table.
        data: prepared faces of its videos.
        plan: the windows that a row must have at least one of.
        jitter_s: so much before and after the row is kept too, for random windows.
    Returns:
        A place for each row, None for those left out; these, by reason; and what there is to know, in words.
    Raises:
        ConfigError: data that cannot be matched to a table, or of other videos.
    """
    if data.settings().fps:
        raise ConfigError(
            f"{data.path} was prepared at fps={data.settings().fps:g}, so parts of its videos cannot be found in it; "
            "prepare it without fps"
        )
    if any(row.track is not None for row in rows):
        raise ConfigError(
            "the table has a track, and tracks of prepared faces are numbered otherwise; leave the column out"
        )
    by_source: dict[str, list[tuple[Shard, Sample]]] = {}
    for shard in data.shards():
        shard.check_size()
        for sample in shard.samples:
            by_source.setdefault(sample.source, []).append((shard, sample))
    outcomes = data.outcomes()
    sources = _match(rows, {*by_source, *outcomes}, outcomes)
    places: list[Place | None] = []
    left_out: LeftOut = {}
    several: list[str] = []
    for row, source in zip(rows, sources, strict=True):
        place = None
        if source in by_source:
            tracks = list(_by_track(by_source[source]))
            place, crowded = _place(row, tracks, jitter_s)
            if crowded:
                several.append(row.id)
            reason = "no prepared face in this part of the video"
            if place is not None and not (place.windows(plan) and _is_long_enough(place, plan)):
                place, reason = None, f"the face is seen in fewer than {plan.needed} sampled frames"
        elif source in outcomes:
            kind = outcomes[source].status
            reason = {"no_face": "no face", "left_out": "no face that is large or long enough"}.get(
                kind, f"broken video: {outcomes[source].reason}"
            )
        else:
            reason = f"its video is not in {data.path}"
        if place is None:
            left_out.setdefault(reason, []).append(row.id)
        places.append(place)
    notes = []
    if several:
        notes.append(f"{len(several)} clips show several faces, such as {several[0]}; the one seen longest was taken")
    return places, left_out, notes


def _match(rows: Sequence[VideoInput], known: set[str], outcomes: dict[str, Outcome]) -> list[str]:
    """The prepared source of each row's path: the longest end of the path that is one."""
    owner: dict[str, str] = {}
    found = []
    for row in rows:
        path = os.path.abspath(row.source)  # noqa: PTH100 - resolve() would follow links
        parts = Path(path).parts
        ends = ("/".join(parts[begin:]) for begin in range(1, len(parts)))
        source = next((end for end in ends if end in known), "")
        found.append(source)
        if not source:
            continue
        if owner.setdefault(source, path) != path:
            raise ConfigError(
                f"{owner[source]} and {path} are both called {source!r} in the prepared data; prepare the videos of "
                "this table into a folder of their own"
            )
        prepared = outcomes[source].stamp.partition("-")[0] if source in outcomes else ""
        if prepared and Path(path).is_file() and prepared != str(size := Path(path).stat().st_size):
            raise ConfigError(
                f"{path} has {size:,} bytes, and what was prepared as {source!r} had {prepared}; prepare the videos of "
                "this table into a folder of their own"
            )
    return found


def _by_track(samples: list[tuple[Shard, Sample]]) -> Iterator[list[tuple[Shard, Sample]]]:
    ordered = sorted(samples, key=lambda pair: (pair[1].track, pair[1].first_frame))
    for _, own in groupby(ordered, key=lambda pair: pair[1].track):
        yield list(own)


def _place(row: VideoInput, tracks: list[list[tuple[Shard, Sample]]], jitter_s: float) -> tuple[Place | None, bool]:
    """The longest-seen face of a row; and whether there are several."""
    start_s = -np.inf if row.start_s is None else row.start_s
    end_s = np.inf if row.end_s is None else row.end_s
    fps: float | None = None
    best: tuple[int, Place] | None = None
    seen = 0
    for track in tracks:
        pieces, count, first, last = [], 0, None, 0
        for shard, sample in track:
            times_s = np.asarray(sample.times_us) / 1e6
            if not len(times_s):
                fps = fps or _rate(row)
                times_s = (sample.first_frame + np.arange(sample.num_frames)) / fps
            inside = np.flatnonzero((times_s >= start_s - _TICK_S) & (times_s < end_s - _TICK_S))
            near = np.flatnonzero((times_s >= start_s - jitter_s - _TICK_S) & (times_s < end_s + jitter_s - _TICK_S))
            if len(near):
                pieces.append((shard, sample, int(near[0]), len(near)))
            if len(inside):
                rate = 1 / float(np.median(np.diff(times_s))) if len(times_s) > 1 else 25.0
                if first is None:
                    first, at_s, own_rate = sample.first_frame + int(inside[0]), float(times_s[inside[0]]), rate
                last = sample.first_frame + int(inside[-1])
                count += len(inside)
        if first is None:
            continue
        seen += 1
        # the row begins before its first face: extraction counts from there
        before = first if row.start_s is None else int((at_s - row.start_s) * own_rate + 1e-3)
        place = Place(row.id, first - before, last, tuple(pieces), own_rate, at_s - before / own_rate)
        if best is None or count > best[0]:
            best = count, place
    return (None if best is None else best[1]), seen > 1


def _is_long_enough(place: Place, plan: WindowRule) -> bool:
    frames = place.frames()
    shown = int(((frames >= place.first) & (frames <= place.last)).sum())
    return shown >= (plan.needed - 1) * plan.sample_rate + 1


def _rate(row: VideoInput) -> float:
    """Frames a second of a video that was prepared by version 0.1, which did not keep times."""
    from marlin_sdk.video.reader import open_video

    if row.start_s is None and row.end_s is None:
        return 25.0  # only for messages: all of the video is taken
    try:
        with open_video(row.source) as reader:
            rate = reader.fps
    except MarlinError as error:
        raise ConfigError(
            f"{row.source}: its faces were prepared without times, and its frame rate cannot be read ({error}); "
            "prepare it again"
        ) from error
    if not rate:
        raise ConfigError(f"{row.source}: its faces were prepared without times; prepare it again")
    return rate
