"""What is found of a video: whose sound it is, by how much it is off, and how sure that is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marlin_sdk.atomic import atomic_path
from marlin_sdk.errors import FeatureFileError
from marlin_sdk.sync.curve import SHIFTS, Reading

__all__ = ["Part", "SyncScore", "TrackSync", "is_near", "write_json"]


@dataclass(frozen=True)
class Part:
    """The offset in a part of a video.

    Attributes:
        start_s: where its first window starts.
        end_s: where its last window ends.
        offset_ms: see `Reading`.
        confidence: see `Reading`.
        distance: see `Reading`.
    """

    start_s: float
    end_s: float
    offset_ms: float
    confidence: float
    distance: float


@dataclass(frozen=True)
class TrackSync:
    """What is found of a face.

    Attributes:
        track_id: as `Marlin.extract` numbers the tracks with `faces="all"`.
        start_s: where its first window starts.
        end_s: where its last window ends.
        windows: number of windows.
        reading: over all of them; None if there is no sound with them.
        parts: one after another.
        drift_ms_per_min: slope of the offset over the parts that are sure; None of fewer than three.
    """

    track_id: int
    start_s: float
    end_s: float
    windows: int
    reading: Reading | None
    parts: tuple[Part, ...] = ()
    drift_ms_per_min: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        reading = self.reading
        return {
            "track_id": self.track_id,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "windows": self.windows,
            "offset_ms": None if reading is None else reading.offset_ms,
            "confidence": None if reading is None else reading.confidence,
            "distance": None if reading is None else reading.distance,
            "curve": [] if reading is None else [None if math.isnan(value) else value for value in reading.curve],
            "parts": [vars(part) for part in self.parts],
            "drift_ms_per_min": self.drift_ms_per_min,
        }


@dataclass(frozen=True)
class SyncScore:
    """What is found of a video.

    Attributes:
        source: its name.
        tracks: its faces, in order of appearance.
        max_distance: below which one of 20 faces comes with a sound of another video at another time, on tracks held
            out in training; None if there were none.
        meta: of the model, and of the settings.
        warnings: what did not stop the reading.
    """

    source: str
    tracks: tuple[TrackSync, ...]
    max_distance: float | None
    meta: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> TrackSync | None:
        """The face that fits the sound best; None if no face has sound."""
        heard = [track for track in self.tracks if track.reading is not None]
        return min(heard, key=lambda track: track.reading.distance if track.reading else math.inf, default=None)

    @property
    def speaker(self) -> int | None:
        """The track of the face that speaks: the best one, if it is sure."""
        best = self.best
        return best.track_id if best is not None and self.is_sure(best.reading) else None

    def is_sure(self, found: Reading | Part | None) -> bool:
        """Whether a distance is smaller than that of a sound of another video, as far as that is known."""
        return found is not None and is_near(found.distance, self.max_distance)

    def verdict(self) -> str:
        """One sentence."""
        best = self.best
        if best is None or best.reading is None:
            return "no face is shown while there is sound"
        offset_ms, confidence = best.reading.offset_ms, best.reading.confidence
        if not self.is_sure(best.reading):
            return (
                f"no answer: the lips of no face fit the sound (distance {best.reading.distance:.3f}; that of another "
                f"video's sound may be {self.max_distance:.3f})"
            )
        unknown = "" if self.max_distance is not None else "; how sure is unknown: no tracks were held out in training"
        way = "late" if offset_ms > 0 else "early"
        text = f"the sound is {abs(offset_ms):.0f} ms {way}, confidence {confidence:.3f}{unknown}"
        if abs(round(offset_ms / 40)) == SHIFTS[-1]:
            text += "; that is the end of the range, and it may be off by more"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        best = self.best
        return {
            "source": self.source,
            "verdict": self.verdict(),
            "speaker": self.speaker,
            "best": None if best is None else best.track_id,
            "max_distance": self.max_distance,
            "shifts": list(SHIFTS),
            "tracks": [track.to_dict() for track in self.tracks],
            "meta": dict(self.meta),
            "warnings": list(self.warnings),
        }


def is_near(distance: float, max_distance: float | None) -> bool:
    """Whether a distance says that face and sound belong together; without a limit, every one does."""
    return max_distance is None or distance < max_distance


def write_json(scores: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write a list of `SyncScore.to_dict`, atomically.

    Raises:
        FeatureFileError: the file cannot be written.
    """
    try:
        with atomic_path(path) as part:
            part.write_text(json.dumps(list(scores), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise FeatureFileError(f"cannot write {path}: {error.strerror or error}") from error
