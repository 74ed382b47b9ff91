"""How like the true mouths made ones are, and the baselines that a network must be better than."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import MissingExtraError
from marlin_sdk.lipsync.clips import TalkingClip
from marlin_sdk.lipsync.mouth import mouth_of_pixels
from marlin_sdk.lipsync.network import first_made_row
from marlin_sdk.sync.mel import BANDS, STEPS_PER_S, LogMel, cut_steps
from marlin_sdk.sync.network import FPS

__all__ = ["LIKENESS", "SeenMouths", "likeness", "sights", "sounds_of_frames"]

LIKENESS = ("error", "psnr", "ssim")
"""The measures: mean absolute error of 1, lower is better; decibels, and structural similarity: higher is better."""

_SSIM_KERNEL = 11  # pixels: of a smaller mouth there is no SSIM
_SIGHT_PX = 16  # side of the pictures by which faces are compared
_STEPS = 16  # of a frame's sound, 0.2 s: those of Wav2Lip
_BLOCK = 256  # frames compared at once


def likeness(made: NDArray[np.uint8], true: NDArray[np.uint8]) -> dict[str, float]:
    """The measures of the mouths of a clip, over its frames.

    Args:
        made: mouths, uint8 (T, h, w, 3).
        true: of the same shape.
    Returns:
        By the names of `LIKENESS`; SSIM is NaN of mouths of fewer than 11 rows or columns. PSNR is that of the mean
        squared error over all frames.
    Raises:
        MissingExtraError: torchmetrics is not installed.
    """
    import torch

    try:
        from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
    except ImportError as error:
        raise MissingExtraError("Comparing pictures", "train") from error
    a, b = (torch.from_numpy(x).permute(0, 3, 1, 2).double().div(255) for x in (made, true))
    large = min(a.shape[-2:]) >= _SSIM_KERNEL
    ssim: Any = torch.nan
    if large:
        ssim = structural_similarity_index_measure(a, b, data_range=1.0, kernel_size=_SSIM_KERNEL)
    return {
        "error": float((a - b).abs().mean()),
        "psnr": float(peak_signal_noise_ratio(a, b, data_range=1.0)),
        "ssim": float(ssim),
    }


@dataclass(frozen=True, eq=False)
class SeenMouths:
    """Mouths of training, to copy from.

    Attributes:
        mouths: uint8 (M, h, w, 3).
        sounds: float32 (M, D), of `sounds_of_frames`.
        sights: float32 (M, E), of `sights`.
    """

    mouths: NDArray[np.uint8]
    sounds: NDArray[np.float32]
    sights: NDArray[np.float32]

    def copies(self, clip: TalkingClip) -> dict[str, NDArray[np.uint8]]:
        """What copying gives for the frames of a clip, by the name of the baseline.

        Returns:
            The mean mouth, and the seen mouths whose sound, upper face and mouth are nearest to those of the frame; the
            last of these looks at the answer.
        """
        true = mouth_of_pixels(clip.crops)
        mean = self.mouths.mean(axis=0, dtype=np.float64).round().astype(np.uint8)
        return {
            "mean seen mouth": np.broadcast_to(mean, true.shape).copy(),
            "seen mouth of the nearest sound": self.mouths[
                self._by_sound.nearest(sounds_of_frames(clip.heard, clip.times_s))
            ],
            "seen mouth of the nearest upper face": self.mouths[self._by_sight.nearest(sights(clip.crops))],
            "nearest seen mouth (knows the answer)": self.mouths[
                self._by_mouth.nearest(true.reshape(len(true), -1).astype(np.float32))
            ],
        }

    @cached_property
    def _by_sound(self) -> _Index:
        return _Index(self.sounds)

    @cached_property
    def _by_sight(self) -> _Index:
        return _Index(self.sights)

    @cached_property
    def _by_mouth(self) -> _Index:
        return _Index(self.mouths.reshape(len(self.mouths), -1).astype(np.float32))


class _Index:
    """Rows among which the nearest is sought: (M, D)."""

    def __init__(self, known: NDArray[np.float32]) -> None:
        self._known = known
        self._half_squares = 0.5 * np.einsum("md,md->m", known, known)

    def nearest(self, asked: NDArray[np.float32]) -> NDArray[np.int64]:
        """For each row, the known row at the smallest Euclidean distance."""
        found = [
            np.argmin(self._half_squares - asked[first : first + _BLOCK] @ self._known.T, axis=1)
            for first in range(0, len(asked), _BLOCK)
        ]
        return np.concatenate(found)


def sounds_of_frames(heard: LogMel, times_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """The 0.2 s of sound around the middle of each frame, (T, 16 * 80).

    Args:
        heard: the sound.
        times_s: (T,), of the frames.
    """
    middles = (times_s + 0.5 / FPS - heard.start_s) * STEPS_PER_S
    firsts = middles.round().astype(np.int64) - _STEPS // 2
    return np.stack([cut_steps(heard, int(first), _STEPS).reshape(_STEPS * BANDS) for first in firsts])


def sights(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The halves of faces that are not made, small, (T, 8 * 16 * 3)."""
    import cv2

    upper = crops[:, : first_made_row(crops.shape[1])]
    size = (_SIGHT_PX, _SIGHT_PX // 2)
    small = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in upper]
    return np.stack(small).reshape(len(crops), -1).astype(np.float32)
