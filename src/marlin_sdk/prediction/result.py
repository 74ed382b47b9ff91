"""What a head says of a video: as a whole, face by face, and window by window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import MissingExtraError
from marlin_sdk.evaluation.probe.head_file import FittedHeads
from marlin_sdk.features import VideoFeatures

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONTEXT", "LabelPrediction", "VideoPrediction", "WindowPrediction", "score_video"]

CONTEXT = 5
"""Windows that a point of the timeline is of, where the head takes more than a mean: itself, and two on each side."""


@dataclass(frozen=True)
class LabelPrediction:
    """What a head says of one label.

    Attributes:
        value: the most probable class; the number of a regression.
        scores: probability of each class, adding up to 1; empty for a regression.
    """

    value: str | float
    scores: Mapping[str, float]

    @property
    def probability(self) -> float | None:
        """Of the class; None for a regression."""
        return self.scores[str(self.value)] if self.scores else None


Labels = Mapping[str, LabelPrediction]


@dataclass(frozen=True)
class WindowPrediction:
    """A point of the timeline.

    Attributes:
        start_s: start of the window, in seconds from the start of the video.
        end_s: its end.
        track_id: its face.
        labels: by label.
    """

    start_s: float
    end_s: float
    track_id: int
    labels: Labels


@dataclass(frozen=True, eq=False)
class VideoPrediction:
    """What a head says of a video.

    Attributes:
        source: name of the video.
        labels: of all its windows, pooled as in the probe that fitted the head; by label.
        tracks: of the windows of each face alone; by `track_id`, in order of appearance.
        timeline: of each window, in the order of the features.
        context: windows that a point of the timeline is of: 1, or `CONTEXT` around it, of the same face.
        features: of the video.
    """

    source: str
    labels: Labels
    tracks: Mapping[int, Labels]
    timeline: tuple[WindowPrediction, ...]
    context: int
    features: VideoFeatures

    def to_dict(self) -> dict[str, Any]:
        """All but the features, as plain JSON."""
        return {
            "source": self.source,
            "labels": _plain(self.labels),
            "tracks": [{"track_id": track, "labels": _plain(labels)} for track, labels in self.tracks.items()],
            "context": self.context,
            "timeline": [{**vars(window), "labels": _plain(window.labels)} for window in self.timeline],
            "skipped": [asdict(window) for window in self.features.skipped],
            "warnings": list(self.features.warnings),
        }

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each label of the video (window -1, no track), of each face (window -1), and of each window.

        Yields:
            `window`, `track_id` (None for the video), `start_s`, `end_s`, `label`, `predicted`, and `score_<class>` of
            each class, or `score_value`, as in the predictions of a probe.
        """
        start_s, end_s = self.features.start_s, self.features.end_s
        yield from _rows(-1, None, start_s, end_s, self.labels)
        for track, labels in self.tracks.items():
            own = self.features.track_id == track
            yield from _rows(-1, track, start_s[own], end_s[own], labels)
        for index, window in enumerate(self.timeline):
            yield from _rows(index, window.track_id, start_s[index], end_s[index], window.labels)

    def to_dataframe(self) -> pd.DataFrame:
        """The rows of `rows`, for pandas (extra `[pandas]`).

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("to_dataframe()", "pandas") from error
        return pd.DataFrame(list(self.rows()))


def score_video(heads: FittedHeads, features: VideoFeatures) -> VideoPrediction:
    """Apply heads to a video.

    A point of the timeline is a video of one window. The heads of "mean+std" and "sequence" compare windows, so that
    one alone is unlike all that they have seen: they get the `CONTEXT` windows around it, of the same face, fewer at
    its ends.

    Args:
        heads: fitted on features with the same settings.
        features: of a video, not reduced.
    Raises:
        ConfigError: the features have no windows, or do not have the width of the heads'.
    """
    context = 1 if heads.pooling in ("mean", "none") or heads.reduction != "none" else CONTEXT
    tracks = [np.flatnonzero(features.track_id == track) for track in dict.fromkeys(features.track_id.tolist())]
    around: dict[int, NDArray[np.int64]] = {}
    for rows in tracks:
        for place, row in enumerate(rows.tolist()):
            around[row] = rows[max(0, place - context // 2) : place + context // 2 + 1]
    parts = [features, *(features[rows] for rows in [*tracks, *(around[row] for row in range(len(features)))])]
    scores = heads.scores_of(parts)
    classes = {label: head.classes for label, head in heads.heads.items()}
    said = [
        {label: _label(classes[label], values[index]) for label, values in scores.items()}
        for index in range(len(parts))
    ]
    times = zip(features.start_s.tolist(), features.end_s.tolist(), features.track_id.tolist(), strict=True)
    windows = zip(times, said[1 + len(tracks) :], strict=True)
    return VideoPrediction(
        source=str(features.meta.get("source", "?")),
        labels=said[0],
        tracks={int(features.track_id[rows[0]]): labels for rows, labels in zip(tracks, said[1:], strict=False)},
        timeline=tuple(WindowPrediction(*time, labels) for time, labels in windows),
        context=context,
        features=features,
    )


def _label(classes: Sequence[str], scores: NDArray[np.float64]) -> LabelPrediction:
    values = scores.tolist()
    if not classes:
        return LabelPrediction(values[0], {})
    return LabelPrediction(classes[int(scores.argmax())], dict(zip(classes, values, strict=True)))


def _plain(labels: Labels) -> dict[str, Any]:
    return {name: {"value": label.value, "scores": dict(label.scores)} for name, label in labels.items()}


def _rows(window: int, track: int | None, start_s: Any, end_s: Any, labels: Labels) -> Iterator[dict[str, Any]]:
    place = {"window": window, "track_id": track, "start_s": float(np.min(start_s)), "end_s": float(np.max(end_s))}
    for name, label in labels.items():
        scores: Mapping[str, str | float] = label.scores or {"value": label.value}
        yield {
            **place,
            "label": name,
            "predicted": label.value,
            **{f"score_{key}": value for key, value in scores.items()},
        }
