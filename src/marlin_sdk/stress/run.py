"""`stress_test`: the same clips, each perturbation, each strength."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.config import ExtractionConfig
from marlin_sdk.dump.settings import weights_name
from marlin_sdk.errors import ConfigError, MarlinError, NoFaceError
from marlin_sdk.evaluation.fidelity import fidelity
from marlin_sdk.evaluation.probe.head_file import FittedHeads
from marlin_sdk.features import VideoFeatures
from marlin_sdk.marlin import Marlin
from marlin_sdk.stress.appearance import FACES, frame_tone
from marlin_sdk.stress.frames import Frames, read_frames
from marlin_sdk.stress.perturbations import (
    CROP_OFFSET,
    PERTURBATIONS,
    ROTATION,
    Perturbation,
    occlude,
    rotate_boxes,
    shift_squares,
)
from marlin_sdk.stress.results import Mean, StressCurve, StressPoint, StressTest, mean_of_videos
from marlin_sdk.stress.watching import Seen, crops_of, embed_crops, found_again, main_faces, watch
from marlin_sdk.video.reader import VideoSource, display_name

__all__ = ["PLAIN", "stress_test"]

_NAN = float("nan")
PLAIN = ExtractionConfig(crop_face=True, detect_every=1)
"""Settings of a test without a head: faces are looked for in every sampled frame."""

Key = tuple[str, float]


@dataclass(frozen=True)
class _Reading:
    """What one video gives at one strength; NaN where it does not apply."""

    recall: float = _NAN
    jitter: float = _NAN
    windows_lost: float = _NAN
    score_change: float = _NAN
    decisions_changed: float = _NAN
    apparent_ita: float = _NAN


@dataclass
class _Gathered:
    """The readings of all videos at one strength, and the features of windows that both sides have."""

    readings: list[_Reading] = field(default_factory=list)
    features: list[NDArray[np.float32]] = field(default_factory=list)
    reference: list[NDArray[np.float32]] = field(default_factory=list)
    videos: list[int] = field(default_factory=list)

    def point(self, strength: float) -> StressPoint:
        drift = None
        if self.videos:
            drift = fidelity(np.concatenate(self.features), np.concatenate(self.reference), videos=self.videos)
        return StressPoint(
            strength,
            r2_within=drift.r2_within if drift else None,
            cosine=drift.cosine if drift else None,
            recall=self._mean("recall"),
            jitter=self._mean("jitter"),
            windows_lost=self._mean("windows_lost"),
            score_change=self._mean("score_change"),
            decisions_changed=self._mean("decisions_changed"),
            apparent_ita=self._mean("apparent_ita"),
        )

    def _mean(self, name: str) -> Mean | None:
        return mean_of_videos([getattr(reading, name) for reading in self.readings])


def stress_test(
    model: Marlin,
    videos: Sequence[VideoSource],
    *,
    heads: FittedHeads | None = None,
    settings: ExtractionConfig = PLAIN,
    seconds: float = 10.0,
    perturbations: Sequence[Perturbation] = PERTURBATIONS,
    advance: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> StressTest:
    """Spoil the same clips in different ways and strengths, and measure what finding faces and features lose.

    Memory holds the sampled frames of one video twice: as they are, and spoilt.

    Args:
        model: the model with its detector.
        videos: videos with a face; no labels are needed.
        heads: whose scores are compared too: those of a `Predictor` with this model.
        settings: of the extraction; with heads, those of the same `Predictor`.
        seconds: how much of each video is used.
        perturbations: those to apply.
        advance: called with what is being done, the number done, and of all.
    Raises:
        ConfigError: no video, no time, a head fitted on other weights or another size of features, or settings that
            cannot be tested.
        NoFaceError: no video can be read and shows a face; the message gives the first reason.
    """
    if not videos or not seconds > 0:
        raise ConfigError(f"a stress test needs videos, and seconds above 0; got {len(videos)} and {seconds}")
    weights = weights_name(model.identity)
    if heads is not None and heads.weights != weights:
        raise ConfigError(
            f"the head was fitted on features of the weights {heads.weights}, and {model.name} is {weights}; give "
            "--model the weights of the head's dump"
        )
    settings = _testable(settings)
    offered = perturbations
    perturbations = [way for way in offered if way.spoil is not None or settings.pool != "regions"]
    keys = [(way.name, strength) for way in perturbations for strength in (0.0, *way.strengths)]
    gathered = {key: _Gathered() for key in keys}
    measured: list[tuple[Frames, int]] = []
    left_out, total = [], len(videos) * len(keys)
    for number, video in enumerate(videos):
        try:
            frames = read_frames(video, settings, seconds=seconds)
            watched = _Watched.of(model, frames, heads, settings)
        except ConfigError:
            raise
        except MarlinError as error:
            left_out.append((display_name(video), str(error)))
            continue
        for done, (key, reading, theirs, ours) in enumerate(watched.readings(perturbations), start=1):
            place = gathered[key]
            place.readings.append(reading)
            if len(ours):
                place.features.append(theirs)
                place.reference.append(ours)
                place.videos += [number] * len(ours)
            advance("stress test", number * len(keys) + done, total)
        measured.append((replace(frames, rgb=frames.rgb[:0]), len(frames.rgb)))
    if not measured:
        name, reason = left_out[0]
        raise NoFaceError(f"none of {len(videos)} videos can be used for a stress test; the first, {name}: {reason}")
    return StressTest(
        model=model.name,
        weights=weights,
        detector=model.detector.name,
        head=tuple(heads.heads) if heads else (),
        seconds=seconds,
        videos=tuple(frames.name for frames, _ in measured),
        left_out=tuple(left_out),
        frames=sum(count for _, count in measured),
        windows=sum(map(len, gathered[keys[0]].reference)),
        curves=tuple(_curve(way, gathered) for way in perturbations),
        notes=(
            *_notes(model, settings, len(offered) - len(perturbations)),
            *(note for frames, _ in measured for note in frames.notes),
        ),
    )


def _curve(way: Perturbation, gathered: Mapping[Key, _Gathered]) -> StressCurve:
    strengths = sorted((0.0, *way.strengths))
    return StressCurve(way.name, way.unit, tuple(gathered[way.name, at].point(at) for at in strengths))


def _testable(settings: ExtractionConfig) -> ExtractionConfig:
    """The settings for one face and one row a window."""
    if settings.compat is not None or settings.keep_seq or settings.crop_face is False:
        raise ConfigError(
            "a stress test finds and crops faces, and compares a vector a window; these settings have compat, keep_seq "
            "or crop_face=False"
        )
    return replace(settings, faces="largest" if settings.faces == "all" else settings.faces, reduction="none")


def _notes(model: Marlin, settings: ExtractionConfig, left_out: int) -> Iterator[str]:
    if model.is_untrained:
        yield "the weights are untrained: the drift of their features says nothing of a trained model"
    rate = (
        f"{settings.fps:g} frames a second" if settings.fps else f"{_each('frame', settings.sample_rate)} of the source"
    )
    yield f"windows of 16 steps: {rate}; faces detected on {_each('step', settings.detect_every)}"
    if left_out:
        yield "crop offset and occlusion are left out: pool='regions' looks for landmarks in whole frames"


def _each(what: str, step: int) -> str:
    return f"each {what}" if step == 1 else f"one {what} of {step}"


@dataclass(frozen=True, eq=False)
class _Watched:
    """An undisturbed video, with which its spoilt versions are compared."""

    model: Marlin
    frames: Frames
    heads: FittedHeads | None
    settings: ExtractionConfig
    features: VideoFeatures
    faces: NDArray[np.float64]
    found: Seen

    @classmethod
    def of(cls, model: Marlin, frames: Frames, heads: FittedHeads | None, settings: ExtractionConfig) -> _Watched:
        seen = watch(model, frames, frames.rgb, settings)
        if seen.features is None:
            raise NoFaceError(f"{frames.name}: no window of the undisturbed video shows a face")
        return cls(model, frames, heads, settings, seen.features, main_faces(seen.found, seen.features), seen)

    @property
    def _face(self) -> NDArray[np.float64]:
        """The median box of the video."""
        return np.asarray(np.nanmedian(self.faces, axis=0), np.float64)

    def readings(
        self, perturbations: Sequence[Perturbation]
    ) -> Iterator[tuple[Key, _Reading, NDArray[np.float32], NDArray[np.float32]]]:
        """The reading of each strength, and the features of the windows that both have: spoilt, and undisturbed."""
        for way in perturbations:
            for strength in (0.0, *way.strengths):
                seen, rgb = (self.found, self.frames.rgb) if strength == 0 else self._spoilt(way, strength)
                theirs, ours = _common(seen.features, self.features)
                yield (way.name, strength), self._read(way, strength, seen, rgb, len(theirs)), theirs, ours

    def _spoilt(self, way: Perturbation, strength: float) -> tuple[Seen, NDArray[np.uint8]]:
        spoil, size_px = way.spoil, self.model.config.img_size
        if spoil is not None:
            rgb = np.stack([spoil(frame, strength, self._face) for frame in self.frames.rgb])
            return watch(self.model, self.frames, rgb, self.settings), rgb
        squares = self.features.boxes
        if way.name == CROP_OFFSET:
            squares = shift_squares(squares, strength).astype(np.float32)
        crops = crops_of(self.frames.rgb, self.features.frame_index, squares, size_px)
        if way.name != CROP_OFFSET:
            crops = occlude(crops, strength)
        features = replace(self.features, features=embed_crops(self.model, crops, self.settings))
        return Seen((), features), self.frames.rgb

    def _read(self, way: Perturbation, strength: float, seen: Seen, rgb: NDArray[np.uint8], kept: int) -> _Reading:
        on_frame = way.spoil is not None
        recall = jitter = tone = _NAN
        if on_frame:
            expected = self.faces
            if way.name == ROTATION:
                expected = rotate_boxes(expected, strength, (self._face[:2] + self._face[2:]) / 2)
            recall, jitter = found_again(expected, seen.found)
            tone = self._tone(rgb)
        change, decisions = self._score_change(seen.features)
        return _Reading(recall, jitter, 1 - kept / len(self.features), change, decisions, tone)

    def _tone(self, rgb: NDArray[np.uint8]) -> float:
        there = np.flatnonzero(~np.isnan(self.faces).any(axis=1))
        at = there[np.unique(np.linspace(0, len(there) - 1, FACES).round().astype(int))]
        return frame_tone(rgb, list(self.faces[at]), at.tolist())

    def _score_change(self, features: VideoFeatures | None) -> tuple[float, float]:
        if self.heads is None or features is None or not len(features):
            return _NAN, _NAN
        before, after = self.heads.scores(self.features), self.heads.scores(features)
        changes, decisions = [], []
        for label, head in self.heads.heads.items():
            difference = np.abs(after[label] - before[label]).sum()
            changes.append(float(difference) / (2 if head.classes else 1))
            if head.classes:
                decisions.append(bool(after[label].argmax() != before[label].argmax()))
        return float(np.mean(changes)), float(np.mean(decisions)) if decisions else _NAN


def _common(
    features: VideoFeatures | None, reference: VideoFeatures
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The features of the windows that both have, by their start."""
    own = {} if features is None else {start: row for row, start in enumerate(features.start_s.round(6).tolist())}
    starts = reference.start_s.round(6).tolist()
    shared = [(own[start], row) for row, start in enumerate(starts) if start in own]
    if features is None or not shared:
        return np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
    rows = np.array(shared)
    return features.features[rows[:, 0]], reference.features[rows[:, 1]]
