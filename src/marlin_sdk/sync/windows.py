"""Windows of every face of a video, and their distances to its sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.bars import bar_class
from marlin_sdk.clips.cutter import ClipCutter
from marlin_sdk.config import ExtractionConfig, ModelConfig
from marlin_sdk.errors import NoFaceError
from marlin_sdk.extraction import RowCounts
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.features import SkippedWindow
from marlin_sdk.sync.curve import SHIFTS
from marlin_sdk.sync.mel import SILENCE, STEPS_PER_S, LogMel
from marlin_sdk.sync.network import FPS, distances, sample_steps, step_places
from marlin_sdk.video.reader import open_video

__all__ = ["FaceWindows", "cut_faces", "shift_distances", "silent_windows"]

_MAX_S = SHIFTS[-1] / FPS


@dataclass(frozen=True, eq=False)
class FaceWindows:
    """The windows of one face.

    Attributes:
        track_id: its track.
        start_s: float64 (N,), times of their first frames.
        values: what was made of them, (N, ...).
    """

    track_id: int
    start_s: NDArray[np.float64]
    values: Tensor


def cut_faces(
    video: str | Path | bytes,
    model: ModelConfig,
    detector: FaceDetector,
    *,
    stride: int,
    batch_size: int,
    embed: Callable[[NDArray[np.uint8]], Tensor],
    progress: bool = False,
) -> tuple[list[FaceWindows], list[str]]:
    """Cut a video into windows of every face, at 25 frames a second, and make something of each.

    Args:
        video: a file, or its bytes.
        model: defines size and number of the frames of a window.
        detector: the face detector.
        stride: frames from one window to the next.
        batch_size: windows that `embed` gets at once.
        embed: of uint8 (B, 16, 224, 224, 3), RGB, makes (B, ...).
        progress: show a progress bar on stderr.
    Returns:
        The faces in order of appearance, and warnings.
    Raises:
        NoFaceError: no window shows a face.
        VideoDecodeError: the file cannot be read.
    """
    settings = ExtractionConfig(fps=FPS, stride=stride, tail="drop", faces="all")
    cutter = ClipCutter(model, lambda: detector)
    counts = RowCounts()
    places: list[tuple[int, float]] = []
    values: list[Tensor] = []
    waiting: list[NDArray[np.uint8]] = []
    with (
        open_video(video) as reader,
        bar_class()(unit="window", desc=reader.name[-40:], leave=False, disable=not progress) as bar,
    ):
        cuts = cutter.cut(reader, settings)
        for cut in cuts:
            if isinstance(cut, SkippedWindow):
                counts.add(cut)
                continue
            for clip in cut:
                counts.rows += 1
                places.append((clip.track_id, clip.start_s))
                waiting.append(clip.pixels)
            bar.update()
            while len(waiting) >= batch_size:
                values.append(embed(np.stack(waiting[:batch_size])))
                del waiting[:batch_size]
        if waiting:
            values.append(embed(np.stack(waiting)))
        facts = cuts.facts()
    counts.check_faces(facts.name, model.img_size)
    if not places:
        raise NoFaceError(
            f"{facts.name} lasts {facts.read_s:.2f} s; a window has {model.n_frames} frames at {FPS:g} a second"
        )
    warnings = list(facts.warnings)
    if counts.skipped and counts.first_skip is not None:
        warnings.append(f"{counts.skipped} windows skipped (the first: {counts.first_skip.reason})")
    return list(_by_track(places, torch.cat(values))), warnings


def _by_track(places: list[tuple[int, float]], values: Tensor) -> Iterator[FaceWindows]:
    tracks = np.array([track for track, _ in places])
    starts = np.array([start_s for _, start_s in places], dtype=np.float64)
    for track in dict.fromkeys(tracks.tolist()):
        own = np.flatnonzero(tracks == track)
        yield FaceWindows(track, starts[own], values[torch.from_numpy(own)])


def shift_distances(face: FaceWindows, sound: Tensor, heard: LogMel, model: ModelConfig) -> NDArray[np.float64]:
    """The distance of each window to its sound, shifted by -15 to 15 frames.

    Args:
        face: with values of `SyncNetwork.embed_faces`.
        sound: (T, dim), of `SyncNetwork.embed_sound`.
        heard: what it was embedded of.
        model: of the encoder.
    Returns:
        (N, 31), NaN where the sound does not reach.
    """
    starts = torch.from_numpy(face.start_s).float()
    shifted = starts + torch.tensor(SHIFTS)[:, None] / FPS
    places = step_places(shifted, heard.start_s, model)
    sounds = sample_steps(sound[None], places[None])[0]
    found = distances(face.values[None], sounds).T.double().numpy()
    outside = (places.amin(-1) < 0) | (places.amax(-1) > len(heard.values) - 1)
    found[outside.T.numpy()] = np.nan
    return found


def silent_windows(start_s: NDArray[np.float64], heard: LogMel) -> NDArray[np.bool_]:
    """Whether there is nothing but silence around a window, within all shifts; (N,)."""
    loud = np.flatnonzero(heard.values.max(axis=1) >= SILENCE)
    first = (start_s - _MAX_S - heard.start_s) * STEPS_PER_S
    last = (start_s + _MAX_S + 16 / FPS - heard.start_s) * STEPS_PER_S
    return np.asarray(np.searchsorted(loud, first) == np.searchsorted(loud, last))
