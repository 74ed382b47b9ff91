"""What a stress test found: means over videos by perturbation and strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from marlin_sdk.evaluation.audit.comparing import mean_scorer
from marlin_sdk.evaluation.intervals import draw_groups, interval_of

__all__ = ["Mean", "StressCurve", "StressPoint", "StressTest", "mean_of_videos"]


@dataclass(frozen=True)
class Mean:
    """A mean over videos.

    Attributes:
        value: the mean of those in which it is defined.
        low: lower end of its interval of 95 %, by drawing videos; None for one video.
        high: upper end.
        videos: number of videos.
    """

    value: float
    low: float | None
    high: float | None
    videos: int


@dataclass(frozen=True)
class StressPoint:
    """What is left at a strength. None is what does not apply, or could not be measured.

    Attributes:
        strength: 0 is the undisturbed video.
        recall: share of the frames with a face in which it is found again, with an overlap of at least 0.5.
        jitter: centre step / box size between consecutive frames; it includes true motion, so compare with strength 0.
        windows_lost: share of the undisturbed windows that have no row any more.
        r2_within: 1 - |d|^2 / |f|^2 of the features of windows that both have, each with its video's mean taken away.
        cosine: the least cosine of a window, which hides what r2_within shows.
        score_change: of a head: half the sum of the changes of its classes' probabilities (the total variation), or the
            change of a number.
        decisions_changed: share of the videos and labels for which another class is predicted.
        apparent_ita: apparent skin tone of the picture, in degrees, in the undisturbed boxes.
    """

    strength: float
    recall: Mean | None = None
    jitter: Mean | None = None
    windows_lost: Mean | None = None
    r2_within: float | None = None
    cosine: float | None = None
    score_change: Mean | None = None
    decisions_changed: Mean | None = None
    apparent_ita: Mean | None = None


@dataclass(frozen=True)
class StressCurve:
    """The points of a perturbation by rising strength, with the undisturbed one at 0.

    Attributes:
        name: of the perturbation.
        unit: what its strength counts.
        points: see `StressPoint`.
    """

    name: str
    unit: str
    points: tuple[StressPoint, ...]


@dataclass(frozen=True)
class StressTest:
    """A stress test.

    Attributes:
        model: name of the weights.
        weights: their identity.
        detector: name of the face detector.
        head: the labels of the head whose scores were compared; empty without one.
        seconds: how much of each video was used at most.
        videos: names of those measured.
        left_out: name and reason of the others.
        frames: number of frames.
        windows: number of undisturbed windows.
        curves: by perturbation.
        notes: what to know about the numbers.
    """

    model: str
    weights: str
    detector: str
    head: tuple[str, ...]
    seconds: float
    videos: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    frames: int
    windows: int
    curves: tuple[StressCurve, ...]
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON has it: numbers, text, lists, objects and null."""
        return asdict(self)


def mean_of_videos(values: Sequence[float], *, draws: int = 2000, seed: int = 0) -> Mean | None:
    """The mean of what is not NaN, with an interval by drawing videos.

    Args:
        values: of each video.
        draws: number of draws.
        seed: of the draws.
    """
    known = np.array([value for value in values if not np.isnan(value)])
    if not len(known):
        return None
    value, count = float(known.mean()), len(known)
    if count < 2:
        return Mean(value, None, None, count)
    rows = np.arange(count)
    scorer = mean_scorer(known[:, None], ("mean",), rows, rows, count)
    drawn = np.concatenate([scorer(block)["mean"] for block in draw_groups(count, draws, seed, np.float64)])
    return Mean(value, *interval_of(value, drawn), count)
