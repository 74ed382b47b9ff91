"""A reader's frames to rows of features: clips cut, batched, embedded, gathered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from inspect import Parameter, signature
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.clips import Clip, cut_clips
from marlin_sdk.config import ExtractionConfig, ExtractionSettings
from marlin_sdk.errors import ConfigError, NoFaceError, VideoDecodeError
from marlin_sdk.face.detectors import FaceDetector
from marlin_sdk.features import SkippedWindow, VideoFeatures, WindowFeatures
from marlin_sdk.provenance import versions
from marlin_sdk.runtime.torch import TorchRuntime
from marlin_sdk.video.reader import VideoReader
from marlin_sdk.video.windows import count_windows

__all__ = ["count_on_bar", "embed_windows", "extract_features", "read_settings", "spell_out_settings"]

_Method = TypeVar("_Method", bound=Callable[..., Any])


def read_settings(settings: ExtractionSettings) -> ExtractionConfig:
    """The config that keyword arguments ask for.

    Raises:
        ConfigError: a setting that there is none of, or a value that cannot be used.
    """
    known = [field.name for field in fields(ExtractionConfig)]
    for name in settings:
        if name not in known:
            meant = "".join(f"; did you mean {close!r}?" for close in get_close_matches(name, known, n=1))
            raise ConfigError(f"unknown setting {name!r}{meant}; the settings are {', '.join(known)}")
    return ExtractionConfig(**settings)


def spell_out_settings(method: _Method) -> _Method:
    """Let `help()` and notebooks show each setting with its default, where the source says `**settings`."""
    shown = signature(method)
    first = [parameter for parameter in shown.parameters.values() if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD]
    last = [parameter for parameter in shown.parameters.values() if parameter.kind is Parameter.KEYWORD_ONLY]
    settings = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(ExtractionConfig)
    ]
    vars(method)["__signature__"] = shown.replace(parameters=[*first, *settings, *last])
    return method


def extract_features(
    reader: VideoReader,
    config: ExtractionConfig,
    runtime: TorchRuntime,
    find_detector: Callable[[], FaceDetector],
    identity: Mapping[str, Any],
    *,
    progress: bool = False,
) -> VideoFeatures:
    """Embed a whole video.

    Args:
        reader: its frames.
        config: how it is cut into clips.
        runtime: what embeds them.
        find_detector: gives the detector; called only where faces are cropped.
        identity: of the weights, for the metadata.
        progress: show a bar of windows on stderr.
    Raises:
        NoFaceError: every window was left out.
        ConfigError: a reduction over a video that has no window.
    """
    windows: list[WindowFeatures] = []
    skipped: list[SkippedWindow] = []
    rows = embed_windows(reader, config, runtime, find_detector, batch_size=config.batch_size)
    for row in count_on_bar(rows, reader, config, runtime.config.n_frames, disable=not progress):
        windows.append(row) if isinstance(row, WindowFeatures) else skipped.append(row)
    if not windows and config.reduction != "none":
        raise ConfigError(f"{reader.name} has no whole window to reduce; use tail='pad'")
    cropped = not windows or windows[0].track_id >= 0
    detector = find_detector() if windows and cropped else None
    return VideoFeatures.from_windows(
        windows,
        _reduce(windows, config, runtime),
        num_steps=runtime.config.n_frames,
        skipped=skipped,
        warnings=[*reader.warnings, *_compat_warnings(windows, config, detector), *_length_warnings(windows, skipped)],
        meta={
            "source": reader.name,
            **identity,
            "device": str(runtime.device),
            "dtype": str(runtime.dtype).removeprefix("torch."),
            "detector": detector and {"name": detector.name, **getattr(detector, "provenance", {})},
            "settings": config.to_dict(),
            "video": {"fps": reader.fps, "num_frames": reader.num_frames, "duration_s": reader.duration_s},
            "versions": versions(),
        },
    )


def count_on_bar(
    rows: Iterable[WindowFeatures | SkippedWindow],
    reader: VideoReader,
    config: ExtractionConfig,
    num_steps: int,
    *,
    disable: bool,
) -> Iterator[WindowFeatures | SkippedWindow]:
    """Pass rows on, and count them on a bar on stderr.

    Args:
        rows: of `embed_windows`.
        reader: where they come from.
        config: as given to `embed_windows`.
        num_steps: frames in a clip.
        disable: show no bar.
    """
    from tqdm.auto import tqdm

    # Of a resampled video, and where a window may hold several faces, the number of rows is not known beforehand.
    known = bool(reader.num_frames) and not config.fps and config.faces == "largest"
    total = count_windows(reader.num_frames or 0, config, num_steps) if known and not disable else None
    with tqdm(total=total, unit="window", desc=reader.name[-40:], disable=disable, leave=False) as bar:
        for row in rows:
            yield row
            bar.update()


def embed_windows(
    reader: VideoReader,
    config: ExtractionConfig,
    runtime: TorchRuntime,
    find_detector: Callable[[], FaceDetector],
    *,
    batch_size: int,
) -> Iterator[WindowFeatures | SkippedWindow]:
    """Embed a video window by window.

    Args:
        reader: its frames.
        config: how it is cut into clips.
        runtime: what embeds them.
        find_detector: gives the detector; called only where faces are cropped.
        batch_size: clips embedded at once.
    Yields:
        Rows in order of time; a window left out comes as soon as that is known, so it may overtake a batch.
    Raises:
        NoFaceError: every window was left out.
    """
    frames = iter(reader)
    first = next(frames, None)
    if first is None:
        raise VideoDecodeError(f"{reader.name} has no frame that can be decoded")
    size_px = runtime.config.img_size
    fits = (first.height, first.width) == (size_px, size_px)
    crop = not fits if config.crop_face == "auto" else config.crop_face
    cuts = cut_clips(chain([first], frames), config, runtime.config, find_detector() if crop else None)
    batch: list[Clip] = []
    embedded, skipped = 0, []
    for cut in cuts:
        if isinstance(cut, SkippedWindow):
            skipped.append(cut)
            yield cut
            continue
        batch += cut
        while len(batch) >= batch_size:
            yield from _embed(batch[:batch_size], config, runtime)
            embedded += batch_size
            del batch[:batch_size]
    if batch:
        yield from _embed(batch, config, runtime)
    elif skipped and not embedded:
        raise NoFaceError(
            f"{reader.name}: none of {len(skipped)} windows shows a face for at least half of its frames "
            f"(the first: {skipped[0].reason}); check the video, try another detector=, or pass "
            f"crop_face=False if it is cropped to {size_px}x{size_px} already"
        )


def _embed(clips: list[Clip], config: ExtractionConfig, runtime: TorchRuntime) -> Iterator[WindowFeatures]:
    pixels = torch.from_numpy(np.stack([clip.pixels for clip in clips]))
    features = runtime.encode(pixels, keep_seq=config.keep_seq).cpu().numpy()
    for clip, feature in zip(clips, features, strict=True):
        provenance = {name: value for name, value in vars(clip).items() if name != "pixels"}
        yield WindowFeatures(feature=feature, **provenance)


def _reduce(windows: list[WindowFeatures], config: ExtractionConfig, runtime: TorchRuntime) -> NDArray[np.float32]:
    if not windows:
        tokens = (runtime.config.num_tokens,) if config.keep_seq else ()
        return np.empty((0, *tokens, runtime.config.encoder_embed_dim), dtype=np.float32)
    features = np.stack([window.feature for window in windows])
    if config.reduction == "mean":
        return np.asarray(features.mean(axis=0), dtype=np.float32)
    return features if config.reduction == "none" else np.asarray(features.max(axis=0), dtype=np.float32)


def _length_warnings(windows: list[WindowFeatures], skipped: list[SkippedWindow]) -> Iterable[str]:
    if not windows and not skipped:
        yield "the video is shorter than one window, and tail='drop' leaves partial windows out"


def _compat_warnings(
    windows: list[WindowFeatures], config: ExtractionConfig, detector: FaceDetector | None
) -> Iterable[str]:
    if not config.compat or detector is None:
        return
    if detector.name != "retinaface":
        yield f"compat: boxes are those of {detector.name!r}; marlin-pytorch's detector is detector='retinaface'"
    blind = sum(int((window.face_score == 0).sum()) for window in windows)
    if blind:
        yield f"compat: {blind} frames show no face; as marlin-pytorch does, a 2x2 corner was embedded in their place"
