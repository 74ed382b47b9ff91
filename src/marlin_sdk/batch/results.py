"""The result of a video, common to all engines."""

from __future__ import annotations

import time
from dataclasses import dataclass

from marlin_sdk.batch.workers import Failure
from marlin_sdk.clips.cutter import SourceFacts
from marlin_sdk.dump.manifest import ManifestEntry, Status
from marlin_sdk.features import VideoFeatures
from marlin_sdk.inputs.videos import VideoInput
from marlin_sdk.video.reader import display_name

__all__ = ["VideoResult"]


@dataclass(frozen=True)
class VideoResult:
    """The result of a video.

    Attributes:
        video: the input.
        features: its features; None if it failed or shows no face.
        failure: why there are no features.
        seconds: time spent on it, from its start to its last row.
        facts: properties of the source, if it could be read.
        skipped_windows: windows without a face, where there are no features to tell.
    """

    video: VideoInput
    features: VideoFeatures | None
    failure: Failure | None
    seconds: float
    facts: SourceFacts | None = None
    skipped_windows: int = 0

    @property
    def status(self) -> Status:
        """See `ManifestEntry.status`."""
        if self.features is None:
            return "no_face" if self.failure and self.failure.error == "NoFaceError" else "failed"
        if len(self.features) == 0:
            return "skipped"
        return "partial" if self.features.skipped or (self.facts and self.facts.is_damaged) else "ok"

    def entry(self, settings_hash: str, weights: str) -> ManifestEntry:
        """Its manifest entry, without `file`, which the writer adds."""
        features, failure = self.features, self.failure
        message = failure.message if failure else next(iter(features.warnings if features else ()), None)
        return ManifestEntry(
            id=self.video.id,
            source=display_name(self.video.source),
            status=self.status,
            rows=len(features) if features else 0,
            skipped_windows=len(features.skipped) if features else self.skipped_windows,
            duration_s=self.facts.read_s if self.facts else None,
            seconds=round(self.seconds, 3),
            error=failure.error if failure else None,
            message=message,
            settings_hash=settings_hash,
            weights=weights,
            labels={name: value for name, value in self.video.labels.items() if value is not None} or None,
            start_s=self.video.start_s,
            end_s=self.video.end_s,
            track=self.video.track,
            finished_at=round(time.time(), 3),
        )
