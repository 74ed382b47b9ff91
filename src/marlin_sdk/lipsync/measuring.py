"""Measure a network that makes lips on videos that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.evaluation.intervals import draw_groups, interval_of
from marlin_sdk.lipsync.clips import TalkingClip, read_timing
from marlin_sdk.lipsync.likeness import LIKENESS, SeenMouths, likeness
from marlin_sdk.lipsync.maker import LipMaker, reference_start
from marlin_sdk.lipsync.mouth import mouth_of_pixels
from marlin_sdk.sync.curve import Reading
from marlin_sdk.sync.network import SyncNetwork

__all__ = ["MADE", "LipsReport", "Number", "measure_lips"]

MADE = "made lips"
REFERENCE = "mouth of the reference"
TIMING = ("lag_0", "within_1", "distance", "confidence")
"""Of the offset that the synchronisation model finds: 0 when rounded to frames, at most a frame; the lowest distance
and the median minus it, LSE-D and LSE-C by this model instead of SyncNet."""

_FRAME_MS = 40.0
_DRAWS, _SEED = 2000, 0


@dataclass(frozen=True)
class Number:
    """A mean over clips, with its 95 % interval by drawing clips.

    Attributes:
        value: the mean.
        low: of the interval.
        high: of the interval.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True)
class LipsReport:
    """What is found.

    Attributes:
        clips: names of the clips.
        mouths: by what is shown, and by measure.
        differences: error of the made mouth minus that of each baseline, clip by clip; below 0, the made one is better.
        timing: by what is judged, and by measure.
        timing_differences: share of lag 0 of made lips with their own sound, minus that with the sound of another clip.
        meta: of model, judge and settings.
        per_clip: all values of each clip.
    """

    clips: tuple[str, ...]
    mouths: Mapping[str, Mapping[str, Number]]
    differences: Mapping[str, Number]
    timing: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    timing_differences: Mapping[str, Number] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    per_clip: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; what is undefined is null."""

        def plain(table: Mapping[str, Mapping[str, Number]]) -> dict[str, Any]:
            return {name: {key: _plain(vars(number)) for key, number in row.items()} for name, row in table.items()}

        return {
            "clips": list(self.clips),
            "mouths": plain(self.mouths),
            "differences": {name: _plain(vars(number)) for name, number in self.differences.items()},
            "timing": plain(self.timing),
            "timing_differences": {name: _plain(vars(number)) for name, number in self.timing_differences.items()},
            "meta": dict(self.meta),
            "per_clip": [_plain(row) for row in self.per_clip],
        }


def measure_lips(
    clips: Sequence[TalkingClip],
    maker: LipMaker,
    *,
    judge: SyncNetwork | None = None,
    seen: SeenMouths | None = None,
    meta: Mapping[str, Any] | None = None,
    advance: Callable[[], object] = lambda: None,
) -> LipsReport:
    """Make the lips of clips for their own sound, which is known, and for that of the next clip.

    Args:
        clips: not of the training, at least two.
        maker: the network.
        judge: the synchronisation model; None measures no timing.
        seen: mouths of the training; None leaves out what copies from them.
        meta: for the report.
        advance: called after each clip.
    Raises:
        ConfigError: fewer than two clips.
        MissingExtraError: torchmetrics is not installed.
    """
    if len(clips) < 2:
        raise ConfigError(f"there are {len(clips)} clips with face and sound; expected at least two, for their sounds")
    rows = []
    for index, clip in enumerate(clips):
        rows.append(_measure_clip(clip, clips[(index + 1) % len(clips)], maker, judge, seen))
        advance()
    means = _Means(len(clips))
    mouths = {
        name: {key: means.of([row["mouths"][name][key] for row in rows]) for key in LIKENESS}
        for name in rows[0]["mouths"]
    }
    differences = {
        name: means.of([row["mouths"][MADE]["error"] - row["mouths"][name]["error"] for row in rows])
        for name in mouths
        if name != MADE
    }
    timing = {
        name: {key: means.of([row["timing"][name][key] for row in rows]) for key in TIMING}
        for name in rows[0]["timing"]
    }
    apart = {
        f"{own} minus {other}": means.of([row["timing"][own]["lag_0"] - row["timing"][other]["lag_0"] for row in rows])
        for own, other in _PAIRS
        if timing
    }
    return LipsReport(
        clips=tuple(clip.name for clip in clips),
        mouths=mouths,
        differences=differences,
        timing=timing,
        timing_differences=apart,
        meta={"draws": _DRAWS, "seed": _SEED, **(meta or {})},
        per_clip=tuple({"clip": clip.name, **row} for clip, row in zip(clips, rows, strict=True)),
    )


_REAL, _REAL_OTHER = "real lips, own sound", "real lips, sound of another clip"
_OWN, _OWN_OTHER = "made lips, the sound they are made for", "made lips, sound of another clip"
_DUBBED = "lips made for the sound of another clip, that sound"
_PAIRS = ((_REAL, _REAL_OTHER), (_OWN, _OWN_OTHER), (_DUBBED, _OWN_OTHER))


def _measure_clip(
    clip: TalkingClip, other: TalkingClip, maker: LipMaker, judge: SyncNetwork | None, seen: SeenMouths | None
) -> dict[str, Any]:
    own = maker.make(clip.crops, clip.heard, start_s=clip.start_s)
    true = mouth_of_pixels(clip.crops)
    shown = {MADE: mouth_of_pixels(own), REFERENCE: mouth_of_pixels(_references(clip.crops, maker.num_frames))}
    shown |= seen.copies(clip) if seen is not None else {}
    row: dict[str, Any] = {"mouths": {name: likeness(mouths, true) for name, mouths in shown.items()}, "timing": {}}
    if judge is not None:
        dubbed = maker.make(clip.crops, other.heard, start_s=other.start_s)
        for name, crops, of in (
            (_REAL, clip.crops, clip), (_REAL_OTHER, clip.crops, other), (_OWN, own, clip), (_OWN_OTHER, own, other),
            (_DUBBED, dubbed, other),
        ):  # fmt: skip
            row["timing"][name] = _timing(read_timing(crops, of.start_s, of.heard, judge))
    return row


def _references(crops: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """For each frame, that of the reference which a network sees beside it."""
    starts = np.arange(len(crops)) // length * length
    starts = np.minimum(starts, max(len(crops) - length, 0))
    begun = np.array([reference_start(int(start), len(crops), length) for start in starts])
    references: NDArray[np.uint8] = crops[np.minimum(begun + np.arange(len(crops)) - starts, len(crops) - 1)]
    return references


def _timing(reading: Reading | None) -> dict[str, float]:
    if reading is None:
        return dict.fromkeys((*TIMING, "offset_ms"), float("nan"))
    frames = abs(reading.offset_ms) / _FRAME_MS
    return {
        "lag_0": float(frames < 0.5),
        "within_1": float(frames < 1.5),
        "distance": reading.distance,
        "confidence": reading.confidence,
        "offset_ms": reading.offset_ms,
    }


class _Means:
    """Means over clips, all with the same draws."""

    def __init__(self, clips: int) -> None:
        self._counts = np.concatenate(list(draw_groups(clips, _DRAWS, _SEED, np.float64)), axis=1)

    def of(self, values: Sequence[float]) -> Number:
        known = np.isfinite(values)
        if not known.any():
            return Number(float("nan"), float("nan"), float("nan"))
        finite = np.where(known, values, 0.0)
        with np.errstate(invalid="ignore"):
            draws = finite @ self._counts / (known @ self._counts)
        mean = float(np.mean(np.asarray(values)[known]))
        return Number(mean, *interval_of(mean, draws))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
