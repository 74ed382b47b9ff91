"""Data set of face windows with their sound and with references."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.lipsync.network import frame_places
from marlin_sdk.sync.curve import SHIFTS
from marlin_sdk.sync.network import FPS, step_places
from marlin_sdk.training.lipsync.config import LipsTrainConfig
from marlin_sdk.training.prepare.folder import DataFolder
from marlin_sdk.training.prepare.shards import read_clip
from marlin_sdk.training.prepare.split import Split
from marlin_sdk.training.stream import EpochDataset
from marlin_sdk.training.sync.data import excerpt, usable_samples
from marlin_sdk.training.sync.sounds import SoundFolder, SoundOutcome

__all__ = ["LipsDataset", "LipsItem", "open_lips", "separate_starts"]

_SPAN_FRAMES = 75  # of a track, from which the windows of an item are taken: the sound of an item is as long


class LipsItem(TypedDict):
    """Windows of a face track without a frame in common, and the sound around them.

    The reference of each window is the one before it, in a circle.

    Attributes:
        clips: uint8 (W, 16, S, S, 3), RGB.
        log_mel: float32 (T, 80).
        frame_places: float32 (W, 16), where the sound of each frame lies in it.
        places: float32 (W, 8), where the sound of each token of a window lies, for the synchronisation model.
        heard: bool (W,), whether the video has sound there.
        id: of the sample.
    """

    clips: torch.Tensor
    log_mel: torch.Tensor
    frame_places: torch.Tensor
    places: torch.Tensor
    heard: torch.Tensor
    id: str


class LipsDataset(EpochDataset[LipsItem]):
    """Streams face tracks, each once per epoch; for the order see `EpochDataset`.

    Args:
        folder: of shards, written by `marlin-sdk prepare` at 25 frames a second.
        split: "train" or "val".
        sounds: of their videos.
        outcomes: of `SoundFolder.fill`.
        model: of the encoder.
        config: size, windows, seed.
        training: windows at random; otherwise evenly spaced.
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
        config: LipsTrainConfig,
        training: bool = True,
    ) -> None:
        needed = config.windows * model.n_frames
        self._samples = usable_samples(DataFolder(Path(folder)), split, outcomes, needed)
        self._sounds, self._outcomes, self._model = sounds, outcomes, model
        self._windows, self._training = config.windows, training
        super().__init__(len(self._samples), batch_size=config.batch_size, seed=config.seed, drop_last=training)

    @property
    def num_frames(self) -> int:
        """Frames of all tracks."""
        return sum(sample.num_frames for _, sample in self._samples)

    def load(self, index: int, epoch: int) -> LipsItem:
        """The item of a track.

        Raises:
            VideoDecodeError: a shard is truncated or damaged.
            TrainingError: a spectrogram is missing.
        """
        shard, sample = self._samples[index]
        rng = np.random.default_rng([self._seed, epoch, index]) if self._training else None
        span = min(sample.num_frames, max(_SPAN_FRAMES, self._windows * self._model.n_frames))
        spare = sample.num_frames - span
        first = spare // 2 if rng is None else int(rng.integers(spare + 1))
        starts = first + separate_starts(span, self._model.n_frames, self._windows, rng)
        frames = starts[:, None] + np.arange(self._model.n_frames)
        pixels = read_clip(shard, sample, frames.flatten().tolist())
        heard = self._sounds.read(self._outcomes[sample.source])
        start_s = torch.tensor([sample.times_us[start] for start in starts.tolist()], dtype=torch.float64) / 1e6
        values, origin = excerpt(heard, sample.times_us[first] / 1e6 + SHIFTS[0] / FPS)
        places = step_places(start_s, heard.start_s, self._model)
        there = (places.amin(-1) >= 0) & (places.amax(-1) <= len(heard.values) - 1)
        return LipsItem(
            clips=torch.from_numpy(pixels.reshape(*frames.shape, *pixels.shape[1:])),
            log_mel=torch.from_numpy(values),
            frame_places=(frame_places(start_s, heard.start_s, self._model.n_frames) - origin).float(),
            places=(places - origin).float(),
            heard=there,
            id=sample.id,
        )


def separate_starts(span: int, length: int, count: int, rng: np.random.Generator | None) -> NDArray[np.int64]:
    """First frames of windows without a frame in common: all such choices alike, or evenly spaced.

    Args:
        span: frames.
        length: of a window.
        count: windows.
        rng: the source of randomness; None spaces evenly.
    Returns:
        (count,), ascending.
    """
    spare = span - length * count
    if rng is None:
        gaps = np.linspace(0, spare, count).round().astype(np.int64)
    else:
        chosen = rng.choice(spare + count, size=count, replace=False)
        gaps = np.sort(chosen) - np.arange(count)
    return np.asarray(gaps + length * np.arange(count), dtype=np.int64)


def open_lips(
    folder: str | Path, sounds: SoundFolder, outcomes: Mapping[str, SoundOutcome], model: ModelConfig,
    config: LipsTrainConfig,
) -> tuple[LipsDataset, LipsDataset | None, str]:  # fmt: skip
    """Open the tracks for a run.

    Returns:
        Those to train on, those held out (None if the data has none), and a description in one sentence.
    Raises:
        ConfigError: as `LipsDataset`, or shards of another size or frame rate.
        VideoDecodeError: a shard is missing or truncated.
    """
    data = DataFolder(Path(folder))
    settings = data.settings()
    if settings.size_px != config.size_px:
        raise ConfigError(
            f"{folder} holds crops of {settings.size_px} pixels, and faces of {config.size_px} are to be made: prepare "
            f"with --size {config.size_px} --fps {FPS:g} --parser none, or set size_px"
        )
    train = LipsDataset(folder, "train", sounds=sounds, outcomes=outcomes, model=model, config=config)
    val = None
    if any(shard.split == "val" for shard in data.shards()):
        val = LipsDataset(folder, "val", sounds=sounds, outcomes=outcomes, model=model, config=config, training=False)
    about = (
        f"{train.num_clips} face tracks with sound, {train.num_frames} frames at {FPS:g} a second; "
        f"{val.num_clips if val else 0} tracks held out, by identity. Faces found by {Path(settings.detector).name}."
    )
    return train, val, about
