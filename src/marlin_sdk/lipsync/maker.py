"""Make lips for the faces of a video, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.errors import ShapeError
from marlin_sdk.lipsync.files import LipsFacts, load_lips
from marlin_sdk.lipsync.network import LipsNetwork, frame_places
from marlin_sdk.runtime.torch import resolve_device
from marlin_sdk.sync.mel import LogMel, cut_steps

__all__ = ["LipMaker", "reference_start", "window_starts"]

_BATCH = 8  # windows made at once
_APART_FRAMES = 32  # of a reference from its window: near enough for the light, too far for the mouth
_MARGIN = 16  # steps of sound on either side


class LipMaker:
    """A trained network, for face crops. Make one of a run's folder with `from_folder`.

    Args:
        network: see `load_lips`.
        facts: of the network.
        device: torch device, as in `Marlin.from_pretrained`.
    """

    def __init__(self, network: LipsNetwork, facts: LipsFacts, *, device: str | torch.device = "auto") -> None:
        self._device = resolve_device(device)
        self._network = network.to(self._device)
        self.facts = facts

    @classmethod
    def from_folder(cls, folder: str | Path, *, device: str | torch.device = "auto") -> LipMaker:
        """Load a model.

        Args:
            folder: output of `marlin-sdk lipsync train`.
            device: as in `Marlin.from_pretrained`.
        Raises:
            ConfigError, WeightsError: as `load_lips`; or an unknown device.
        """
        network, facts = load_lips(folder)
        return cls(network, facts, device=device)

    @property
    def size_px(self) -> int:
        """Side of the faces."""
        return self._network.config.size_px

    @property
    def num_frames(self) -> int:
        """Frames of a window."""
        return self._network.config.model.n_frames

    def make(self, crops: NDArray[np.uint8], heard: LogMel, *, start_s: float = 0.0) -> NDArray[np.uint8]:
        """Make the lower halves of a face for a sound.

        Args:
            crops: uint8 (T, S, S, 3), RGB, 25 a second, of one face.
            heard: the sound; silent where it does not reach.
            start_s: time of the first frame on the sound's clock.
        Returns:
            uint8 (T, S, S, 3).
        Raises:
            ShapeError: crops of another shape, or none.
        """
        return np.concatenate(list(self.stream(crops, heard, start_s=start_s)))

    def stream(self, crops: NDArray[np.uint8], heard: LogMel, *, start_s: float = 0.0) -> Iterator[NDArray[np.uint8]]:
        """As `make`, but part after part, for long films."""
        side = self.size_px
        if crops.ndim != 4 or crops.shape[1:] != (side, side, 3) or crops.dtype != np.uint8 or not len(crops):
            raise ShapeError(f"faces are uint8 (T, {side}, {side}, 3); got {crops.dtype} {crops.shape}")
        length = self.num_frames
        starts = window_starts(len(crops), length)
        done = 0
        for first in range(0, len(starts), _BATCH):
            chosen = starts[first : first + _BATCH]
            made = self._windows(crops, heard, chosen, start_s)
            for start, window in zip(chosen, made, strict=True):
                yield window[done - start : len(crops) - start]
                done = min(start + length, len(crops))

    def _windows(self, crops: NDArray[np.uint8], heard: LogMel, starts: list[int], start_s: float) -> NDArray[np.uint8]:
        length = self.num_frames
        times_s = torch.tensor([start_s + start / 25 for start in starts], dtype=torch.float64)
        places = frame_places(times_s, heard.start_s, length)
        first = int(places.min()) - _MARGIN
        mel = cut_steps(heard, first, int(places.max()) + _MARGIN - first)
        references = [reference_start(start, len(crops), length) for start in starts]
        with torch.inference_mode():
            made = self._network(
                self._clips(crops, starts),
                self._clips(crops, references),
                torch.from_numpy(mel)[None].to(self._device),
                (places - first)[None].float().to(self._device),
            )
        pixels = made[0].permute(0, 2, 3, 4, 1).clamp(0, 1).mul(255).round().byte()
        return np.asarray(pixels.cpu().numpy())

    def _clips(self, crops: NDArray[np.uint8], starts: list[int]) -> torch.Tensor:
        """(1, W, 3, 16, S, S); the last frame is repeated where there are too few."""
        rows = np.minimum(np.array(starts)[:, None] + np.arange(self.num_frames), len(crops) - 1)
        clips = torch.from_numpy(crops[rows]).to(self._device)
        return clips.permute(0, 4, 1, 2, 3).float().div_(255)[None]


def window_starts(num_frames: int, length: int) -> list[int]:
    """First frames of windows that cover all frames; the last window ends with the last frame, if there are enough."""
    last = max(num_frames - length, 0)
    return [*range(0, last, length), last]


def reference_start(start: int, num_frames: int, length: int) -> int:
    """First frame of the reference of a window: 32 frames later, or earlier, or as far away as there are frames."""
    last = max(num_frames - length, 0)
    later, earlier = min(start + _APART_FRAMES, last), max(start - _APART_FRAMES, 0)
    return later if later - start >= start - earlier else earlier
