"""Embed clips in batches as rows of features, and gather the rows of a video with its metadata."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.bars import bar_class
from marlin_sdk.clips.cut import Clip
from marlin_sdk.clips.cutter import ClipCutter, Cut, SourceFacts, VideoCuts
from marlin_sdk.clips.windows import count_windows
from marlin_sdk.config import ExtractionConfig, Pool
from marlin_sdk.errors import ConfigError, NoFaceError, WeightsError
from marlin_sdk.features import FaceWindow, SkippedWindow, VideoFeatures, WindowFeatures
from marlin_sdk.runtime import EncoderRuntime
from marlin_sdk.runtime.pooling import pool_regions, pool_time, pooled_shape
from marlin_sdk.video.reader import VideoSource, open_video
from marlin_sdk.weights.identity import versions

__all__ = [
    "RowCounts",
    "check_stream",
    "embed_clips",
    "embed_cuts",
    "encode_finite",
    "gather_features",
    "log_warnings",
    "stream_clips",
    "stream_rows",
]

_Window = TypeVar("_Window", bound=FaceWindow)
logger = logging.getLogger("marlin_sdk")


def embed_clips(
    clips: Sequence[Clip], runtime: EncoderRuntime, *, keep_seq: bool = False, pool: Pool = "mean"
) -> list[WindowFeatures]:
    """Embed clips in one batch.

    Args:
        clips: of one video or several.
        runtime: the inference backend.
        keep_seq: return the tokens of each clip instead of their pooled vector.
        pool: which parts of a clip get a vector; see `ExtractionConfig`. For "regions" the clips need theirs.
    Raises:
        WeightsError: a feature is NaN or infinite.
        ShapeError: `pool="regions"`, and clips without regions.
    """
    pixels = torch.from_numpy(np.stack([clip.pixels for clip in clips]))
    features = encode_finite(runtime, pixels, keep_seq=keep_seq or pool != "mean")
    if pool == "time":
        features = pool_time(features, runtime.config)
    elif pool == "regions":
        features = pool_regions(features, [clip.regions for clip in clips], runtime.config)
    return [_row(clip, feature) for clip, feature in zip(clips, features.cpu().numpy(), strict=True)]


def encode_finite(
    runtime: EncoderRuntime, clips: Tensor, *, keep_seq: bool, layers: Sequence[int] | None = None
) -> Tensor:
    """Embed clips; see `EncoderRuntime.encode`.

    Raises:
        WeightsError: a feature is NaN or infinite.
    """
    features = runtime.encode(clips, keep_seq=keep_seq, layers=layers)
    if not features.isfinite().all():
        dtype = str(runtime.dtype).removeprefix("torch.")
        advice = "check the weights" if dtype == "float32" else "use dtype='float32', or check the weights"
        raise WeightsError(f"the encoder gives features that are NaN or infinite in {dtype}; {advice}")
    return features


def _row(clip: Clip, feature: NDArray[np.float32]) -> WindowFeatures:
    provenance = {name: value for name, value in vars(clip).items() if name not in ("pixels", "regions")}
    return WindowFeatures(feature=feature, **provenance)


def embed_cuts(
    cuts: VideoCuts, runtime: EncoderRuntime, *, batch_size: int | None = None, progress: bool = False
) -> Iterator[WindowFeatures | SkippedWindow]:
    """Embed a video window by window.

    Args:
        cuts: from `ClipCutter.cut`.
        runtime: the inference backend.
        batch_size: clips embedded at once; by default that of the settings.
        progress: show a progress bar of rows on stderr.
    Yields:
        Rows in order of time; a skipped window comes immediately, so it may precede earlier rows of a batch.
    """
    size = batch_size or cuts.config.batch_size
    rows = _embed_in_batches(cuts, cuts.config, runtime, size)
    yield from _with_progress_bar(rows, cuts) if progress else rows


def _embed_in_batches(
    cuts: Iterable[Cut], config: ExtractionConfig, runtime: EncoderRuntime, batch_size: int
) -> Iterator[WindowFeatures | SkippedWindow]:
    batch: list[Clip] = []
    for cut in cuts:
        if isinstance(cut, SkippedWindow):
            yield cut
            continue
        batch += cut
        while len(batch) >= batch_size:
            yield from embed_clips(batch[:batch_size], runtime, keep_seq=config.keep_seq, pool=config.pool)
            del batch[:batch_size]
    if batch:
        yield from embed_clips(batch, runtime, keep_seq=config.keep_seq, pool=config.pool)


def check_stream(config: ExtractionConfig, method: str) -> ExtractionConfig:
    """The settings of a stream.

    Raises:
        ConfigError: they need the whole video; the message names the method.
    """
    if config.reduction != "none":
        raise ConfigError(f"{method} yields a window at a time; reduction={config.reduction!r} needs them all")
    if config.identify:
        raise ConfigError(f"{method} yields windows before a video's persons are known; use extract(identify=True)")
    return config


def stream_rows(
    video: VideoSource,
    config: ExtractionConfig,
    cutter: ClipCutter,
    runtime: EncoderRuntime,
    *,
    on_skip: Callable[[SkippedWindow], object] | None,
    progress: bool,
) -> Iterator[WindowFeatures]:
    """Embed each window of a video immediately, and store none; see `Marlin.stream`.

    Raises:
        NoFaceError: every window was skipped.
    """
    with open_video(video, source_fps=config.source_fps) as reader:
        cuts = cutter.cut(reader, config)
        yield from _only_faces(embed_cuts(cuts, runtime, batch_size=1, progress=progress), cuts, on_skip)


def stream_clips(
    video: VideoSource,
    config: ExtractionConfig,
    cutter: ClipCutter,
    *,
    on_skip: Callable[[SkippedWindow], object] | None,
    progress: bool,
) -> Iterator[Clip]:
    """The clips of a video, one after another, and store none; see `Marlin.clips`.

    Raises:
        NoFaceError: every window was skipped.
    """
    with open_video(video, source_fps=config.source_fps) as reader:
        cuts = cutter.cut(reader, config)
        clips = _flat(cuts)
        yield from _only_faces(_with_progress_bar(clips, cuts) if progress else clips, cuts, on_skip)


def _flat(cuts: Iterable[Cut]) -> Iterator[Clip | SkippedWindow]:
    for cut in cuts:
        yield from [cut] if isinstance(cut, SkippedWindow) else cut


def _only_faces(
    windows: Iterable[_Window | SkippedWindow], cuts: VideoCuts, on_skip: Callable[[SkippedWindow], object] | None
) -> Iterator[_Window]:
    """Leave out skipped windows, and at the end log the warnings of the video."""
    counts = RowCounts()
    for window in windows:
        counts.add(window)
        if not isinstance(window, SkippedWindow):
            yield window
        elif on_skip:
            on_skip(window)
    facts = cuts.facts()
    counts.check_faces(facts.name, cuts.model.img_size)
    log_warnings(facts.name, counts.warnings(facts, cuts.config))


def log_warnings(source: str, warnings: Iterable[str]) -> None:
    """Log the warnings of an extraction, for callers who get no `VideoFeatures` that contains them."""
    for warning in warnings:
        logger.warning("%s: %s", source, warning)


@dataclass
class RowCounts:
    """Counts of a video's rows and skipped windows so far; all that a stream stores.

    Attributes:
        rows: windows embedded; counted once for each face.
        skipped: windows skipped.
        frames_without_face: steps of the rows that show no face.
        first_skip: the first skipped window.
    """

    rows: int = 0
    skipped: int = 0
    frames_without_face: int = 0
    first_skip: SkippedWindow | None = None

    def add(self, row: FaceWindow | SkippedWindow) -> None:
        """Count a row or a clip, or a skipped window."""
        if isinstance(row, SkippedWindow):
            self.skipped += 1
            self.first_skip = self.first_skip or row
        else:
            self.rows += 1
            self.frames_without_face += int((row.face_score == 0).sum())

    def check_faces(self, name: str, size_px: int) -> None:
        """Raise if the video has windows, but none with a face.

        Args:
            name: of the video.
            size_px: of the model's frames.
        Raises:
            NoFaceError: every window was skipped.
        """
        if self.first_skip and not self.rows:
            raise NoFaceError(
                f"{name}: none of {self.skipped} windows shows one face for at least half of its frames "
                f"(the first: {self.first_skip.reason}); check the video, try another detector=, or pass "
                f"crop_face=False if it is already cropped to {size_px}x{size_px}"
            )

    def warnings(self, facts: SourceFacts, config: ExtractionConfig) -> list[str]:
        """The warnings at the end of a video.

        Args:
            facts: of the source.
            config: the settings of the extraction.
        """
        warnings = list(facts.warnings)
        if config.compat and facts.detector and self.rows:
            if (name := facts.detector["name"]) != "retinaface":
                warnings.append(
                    f"compat: boxes are those of {name!r}; marlin-pytorch's detector is detector='retinaface'"
                )
            if self.frames_without_face:
                warnings.append(
                    f"compat: {self.frames_without_face} frames show no face; as in marlin-pytorch, a 2x2 corner was "
                    "embedded in their place"
                )
        if facts.persons is not None and facts.detector is None:
            warnings.append("identify: the frames are cropped already, so no faces were compared")
        if not self.rows and not self.skipped:
            warnings.append("the video is shorter than one window, and tail='drop' discards partial windows")
        return warnings


def gather_features(
    rows: Sequence[WindowFeatures],
    skipped: Sequence[SkippedWindow],
    facts: SourceFacts,
    config: ExtractionConfig,
    runtime: EncoderRuntime,
    identity: Mapping[str, Any],
) -> VideoFeatures:
    """Join the rows of a video with its metadata.

    Args:
        rows: in order.
        skipped: the skipped windows.
        facts: of the source.
        config: the settings of the extraction.
        runtime: the inference backend of the rows.
        identity: of the weights.
    Raises:
        NoFaceError: every window was skipped.
        ConfigError: a reduction over a video without windows.
    """
    counts = RowCounts()
    for row in chain[WindowFeatures | SkippedWindow](rows, skipped):
        counts.add(row)
    counts.check_faces(facts.name, runtime.config.img_size)
    if not rows and config.reduction != "none":
        raise ConfigError(f"{facts.name} has no full window to reduce; use tail='pad'")
    return VideoFeatures.from_windows(
        rows,
        _reduce(rows, config, runtime),
        num_steps=runtime.config.n_frames,
        skipped=skipped,
        warnings=counts.warnings(facts, config),
        meta={
            "source": facts.name,
            **identity,
            "device": str(runtime.device),
            "dtype": str(runtime.dtype).removeprefix("torch."),
            "detector": facts.detector if rows else None,
            **({} if facts.persons is None else {"recogniser": facts.recogniser, "persons": list(facts.persons)}),
            **({} if facts.region_detector is None else {"region_detector": facts.region_detector}),
            "runtime": dict(runtime.provenance),
            "settings": config.to_dict(),
            "video": {"fps": facts.fps, "num_frames": facts.num_frames, "duration_s": facts.duration_s},
            "versions": versions(),
        },
    )


def _with_progress_bar(
    windows: Iterable[_Window | SkippedWindow], cuts: VideoCuts
) -> Iterator[_Window | SkippedWindow]:
    reader, config = cuts.reader, cuts.config
    # The number of rows is unknown in advance if a video is resampled or trimmed, or a window may have several faces.
    untrimmed = config.start_s is None and config.end_s is None
    known = bool(reader.num_frames) and untrimmed and not config.fps and config.faces != "all"
    total = count_windows(reader.num_frames or 0, config, cuts.model.n_frames) if known else None
    with bar_class()(total=total, unit="window", desc=reader.name[-40:], leave=False) as bar:
        for window in windows:
            yield window
            bar.update()


def _reduce(rows: Sequence[WindowFeatures], config: ExtractionConfig, runtime: EncoderRuntime) -> NDArray[np.float32]:
    if not rows:
        return np.empty((0, *pooled_shape(config.pool, runtime.config, keep_seq=config.keep_seq)), dtype=np.float32)
    features = np.stack([row.feature for row in rows])
    if config.reduction == "mean":
        return np.asarray(features.mean(axis=0), dtype=np.float32)
    return features if config.reduction == "none" else np.asarray(features.max(axis=0), dtype=np.float32)
