"""Data set of face windows with their sound, at all shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, VideoDecodeError
from marlin_sdk.sync.curve import SHIFTS
from marlin_sdk.sync.mel import STEPS_PER_S, LogMel, cut_steps
from marlin_sdk.sync.network import FPS, step_places
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import Sample, Shard, read_clip
from marlin_sdk.training.prepare.split import Split, check_disjoint
from marlin_sdk.training.stream import EpochDataset
from marlin_sdk.training.sync.augment import augment_sound, augment_windows
from marlin_sdk.training.sync.config import SyncTrainConfig
from marlin_sdk.training.sync.sounds import SoundFolder, SoundOutcome

__all__ = ["SyncDataset", "SyncItem", "collate", "excerpt", "open_tracks", "usable_samples"]

_SPAN_FRAMES = 75  # of a track, from which the windows of an item are taken
_VAL_WINDOWS = 12
_RATE_TOLERANCE = 0.01
_MARGIN = 16  # steps at either end that the sound's encoder sees


class SyncItem(TypedDict):
    """Windows of a face track, and the sound around them.

    Attributes:
        clips: uint8 (W, 16, 224, 224, 3), RGB.
        log_mel: float32 (T, 80).
        places: float32 (31, W, 8), where the sound of each window lies in it, at each shift.
        valid: bool (31, W), whether the video has sound there.
        id: of the sample.
    """

    clips: torch.Tensor
    log_mel: torch.Tensor
    places: torch.Tensor
    valid: torch.Tensor
    id: str


class SyncDataset(EpochDataset[SyncItem]):
    """Streams face tracks, each once per epoch; for the order see `EpochDataset`.

    Args:
        folder: of shards, written by `marlin-sdk prepare` at 25 frames a second.
        split: "train" or "val".
        sounds: of their videos.
        outcomes: of `SoundFolder.fill`.
        model: of the encoder.
        config: windows, seed, augmentation.
        training: windows at random, and augmented; otherwise evenly spaced, as they are.
    Raises:
        ConfigError: no shards of this split, or no track with sound that is long enough.
        VideoDecodeError: a shard is missing or truncated.
    """

    def __init__(
        self,
        folder: str | Path,
        split: Split,
        *,
        sounds: SoundFolder,
        outcomes: Mapping[str, SoundOutcome],
        model: ModelConfig,
        config: SyncTrainConfig,
        training: bool = True,
    ) -> None:
        self._samples = usable_samples(DataFolder(Path(folder)), split, outcomes, model.n_frames)
        self._sounds, self._outcomes, self._model = sounds, outcomes, model
        self._windows = config.windows if training else _VAL_WINDOWS
        self._training, self._augment = training, training and config.augment
        super().__init__(len(self._samples), batch_size=config.batch_size, seed=config.seed, drop_last=training)

    @property
    def num_frames(self) -> int:
        """Frames of all tracks."""
        return sum(sample.num_frames for _, sample in self._samples)

    def load(self, index: int, epoch: int) -> SyncItem:
        """The item of a track.

        Raises:
            VideoDecodeError: a shard is truncated or damaged.
            TrainingError: a spectrogram is missing.
        """
        shard, sample = self._samples[index]
        rng = np.random.default_rng([self._seed, epoch, index])
        span = min(sample.num_frames, _SPAN_FRAMES)
        spare = sample.num_frames - span
        first = int(rng.integers(spare + 1)) if self._training else spare // 2
        starts = first + self._starts(rng, span)
        windows = self._read(shard, sample, starts)
        heard = self._sounds.read(self._outcomes[sample.source])
        start_s = torch.tensor([sample.times_us[start] for start in starts.tolist()], dtype=torch.float64) / 1e6
        shifted_s = start_s + torch.tensor(SHIFTS, dtype=torch.float64)[:, None] / FPS
        places = step_places(shifted_s, heard.start_s, self._model)
        valid = (places.amin(-1) >= 0) & (places.amax(-1) <= len(heard.values) - 1)
        origin_s = sample.times_us[first] / 1e6 + SHIFTS[0] / FPS
        values, origin = excerpt(heard, origin_s)
        if self._augment:
            windows, values = augment_windows(windows, rng), augment_sound(values, rng)
        return SyncItem(
            clips=torch.from_numpy(windows),
            log_mel=torch.from_numpy(values),
            places=(places - origin).float(),
            valid=valid,
            id=sample.id,
        )

    def _starts(self, rng: np.random.Generator, span: int) -> NDArray[np.int64]:
        """First frames of the windows, within a span."""
        last = span - self._model.n_frames
        if self._training:
            return np.asarray(rng.integers(last + 1, size=self._windows), dtype=np.int64)
        return np.asarray(np.linspace(0, last, self._windows).round(), dtype=np.int64)

    def _read(self, shard: Shard, sample: Sample, starts: NDArray[np.int64]) -> NDArray[np.uint8]:
        frames = starts[:, None] + np.arange(self._model.n_frames)
        needed, position = np.unique(frames, return_inverse=True)
        pixels = read_clip(shard, sample, needed.tolist())
        if pixels.shape[1:3] != (self._model.img_size,) * 2:
            raise VideoDecodeError(
                f"sample {sample.id!r} of shard {shard.path} has crops of {pixels.shape[1:3]}; expected "
                f"{self._model.img_size} pixels: prepare the data again"
            )
        windows: NDArray[np.uint8] = pixels[position.reshape(frames.shape)]
        return windows


def excerpt(heard: LogMel, origin_s: float) -> tuple[NDArray[np.float32], int]:
    """A spectrogram from a moment on, of the same length for all; silent where the video has no sound.

    Returns:
        float32 (T, 80), and the step of the whole spectrogram that is its first.
    """
    first = int((origin_s - heard.start_s) * STEPS_PER_S) - _MARGIN
    steps = int((_SPAN_FRAMES + len(SHIFTS)) / FPS * STEPS_PER_S) + 2 * _MARGIN
    return cut_steps(heard, first, steps), first


def collate(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Stack tensors; ids are a list."""
    return {
        key: torch.stack([item[key] for item in items]) if torch.is_tensor(items[0][key]) else [i[key] for i in items]
        for key in items[0]
    }


def open_tracks(
    folder: str | Path, sounds: SoundFolder, outcomes: Mapping[str, SoundOutcome], model: ModelConfig,
    config: SyncTrainConfig,
) -> tuple[SyncDataset, SyncDataset | None, str]:  # fmt: skip
    """Open the tracks for a run.

    Returns:
        Those to train on, those held out (None if the data has none), and a description in one sentence.
    Raises:
        ConfigError: as `SyncDataset`, or shards of another size or frame rate.
        VideoDecodeError: a shard is missing or truncated.
    """
    data = DataFolder(Path(folder))
    settings = data.settings()
    if settings.size_px != model.img_size:
        raise ConfigError(
            f"{folder} holds crops of {settings.size_px} pixels; the model takes {model.img_size}: prepare with --size "
            f"{model.img_size} --fps {FPS:g} --parser none"
        )
    opened = partial(SyncDataset, folder, sounds=sounds, outcomes=outcomes, model=model, config=config)
    train = opened("train")
    held_out = any(shard.split == "val" for shard in data.shards())
    val = opened("val", training=False) if held_out else None
    about = (
        f"{train.num_clips} face tracks with sound, {train.num_frames} frames at {FPS:g} a second; "
        f"{val.num_clips if val else 0} tracks held out, by identity. Faces found by {Path(settings.detector).name}."
    )
    return train, val, about


def usable_samples(
    data: DataFolder, split: Split, outcomes: Mapping[str, SoundOutcome], min_frames: int
) -> list[tuple[Shard, Sample]]:
    shards = data.shards()
    check_disjoint((sample.identity, str(shard.split), str(shard.path)) for shard in shards for sample in shard.samples)
    selected = [shard for shard in shards if shard.split == split]
    for shard in selected:
        shard.check_size()
    samples = [(shard, sample) for shard in selected for sample in shard.samples]
    if samples and not all(sample.times_us for _, sample in samples):
        raise ConfigError(f"{data.path} does not say when its frames are shown; prepare it again with this version")
    for _, sample in samples:
        step_s = float(np.median(np.diff(sample.times_us))) / 1e6 if sample.num_frames > 1 else 1 / FPS
        if abs(step_s * FPS - 1) > _RATE_TOLERANCE:
            raise ConfigError(
                f"{sample.source} is prepared at {1 / step_s:.3g} frames a second; expected {FPS:g}: prepare with "
                f"--fps {FPS:g}"
            )
    usable = [
        (shard, sample)
        for shard, sample in samples
        if sample.num_frames >= min_frames and sample.source in outcomes and not outcomes[sample.source].reason
    ]
    if not usable:
        raise ConfigError(
            f"{data.path} holds {len(samples)} face tracks in split {split!r}, and none has {min_frames} frames "
            "and sound; prepare more videos"
        )
    return sorted(usable, key=lambda pair: pair[1].id)
