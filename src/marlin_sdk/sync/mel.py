"""The log-mel spectrogram of a sound: 80 bands, 80 steps a second."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.errors import NoSoundError
from marlin_sdk.video.sound import SOUND_RATE, Sound

__all__ = ["BANDS", "SILENCE", "STEPS_PER_S", "LogMel", "check_audible", "cut_steps", "log_mel", "mel_filters"]

# Those of Wav2Lip (Prajwal et al. 2020), but for the scale of the result.
BANDS = 80
_HOP, _WINDOW = 200, 800
_LOW_HZ, _HIGH_HZ = 55.0, 7600.0
_PREEMPHASIS = 0.97
_FLOOR = 1e-5
_SILENT = -2.0

STEPS_PER_S = SOUND_RATE // _HOP
SILENCE = -0.5
"""Of a log-mel value: noise of -70 dBFS has this in its loudest band."""

_BLOCK = 4096  # steps that are transformed at once: an hour of sound must fit into memory


@dataclass(frozen=True, eq=False)
class LogMel:
    """A log-mel spectrogram on the clock of a video.

    Attributes:
        values: float32 (T, 80), decibels / 20 + 3: loud speech is about 2, silence -2.
        start_s: time of the centre of the first step; others follow at `STEPS_PER_S`.
    """

    values: NDArray[np.float32]
    start_s: float

    @property
    def end_s(self) -> float:
        """Time of the centre of the last step."""
        return self.start_s + (len(self.values) - 1) / STEPS_PER_S


def cut_steps(heard: LogMel, first: int, count: int) -> NDArray[np.float32]:
    """Some steps of a spectrogram, silent where it has none.

    Args:
        heard: the whole.
        first: step; may be negative.
        count: steps.
    Returns:
        float32 (count, 80).
    """
    values = np.full((count, BANDS), _SILENT, dtype=np.float32)
    begin, end = max(first, 0), min(first + count, len(heard.values))
    if begin < end:
        values[begin - first : end - first] = heard.values[begin:end]
    return values


def log_mel(sound: Sound) -> LogMel:
    """The log-mel spectrogram of a sound, steps centred on their samples.

    Args:
        sound: at least one sample.
    """
    samples = torch.from_numpy(np.ascontiguousarray(sound.samples))
    emphasised = torch.cat([samples[:1], samples[1:] - _PREEMPHASIS * samples[:-1]])
    padded = torch.nn.functional.pad(emphasised, (_WINDOW // 2, _WINDOW // 2))
    window, filters = torch.hann_window(_WINDOW), torch.from_numpy(mel_filters())
    blocks = []
    for first in range(0, len(samples) // _HOP + 1, _BLOCK):
        part = padded[first * _HOP : (first + _BLOCK - 1) * _HOP + _WINDOW]
        spectrum = torch.stft(part, _WINDOW, _HOP, window=window, center=False, return_complex=True).abs()
        blocks.append(torch.log10((filters @ spectrum).clamp_min(_FLOOR)).T + 3)
    return LogMel(torch.cat(blocks).numpy(), sound.start_s)


def check_audible(sound: Sound, heard: LogMel, name: str) -> None:
    """Refuse a sound that is silent throughout.

    Args:
        sound: of a video.
        heard: of the same.
        name: of the video.
    Raises:
        NoSoundError: it is silent.
    """
    if heard.values.max() < SILENCE:
        peak = float(np.abs(sound.samples).max())
        raise NoSoundError(
            f"{name}: its sound is silent throughout ({sound.end_s - sound.start_s:.1f} s, the loudest sample is "
            f"{peak:.1g} of full scale)"
        )


@cache
def mel_filters() -> NDArray[np.float32]:
    """Triangular filters of equal area on Slaney's mel scale, (80, 401): as `librosa.filters.mel`.

    Linear below 1000 Hz (200 / 3 Hz a mel), logarithmic above (27 steps to 6400 Hz). Malcolm Slaney, Auditory Toolbox,
    1998.
    """
    edges = _hz(np.linspace(_mel(_LOW_HZ), _mel(_HIGH_HZ), BANDS + 2))
    bins = np.linspace(0, SOUND_RATE / 2, _WINDOW // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    heights = 2 / (edges[2:] - edges[:-2])
    return (np.maximum(0, np.minimum(rising, falling)) * heights[:, None]).astype(np.float32)


def _mel(hz: float) -> float:
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * float(np.log(hz / 1000) / np.log(6.4))


def _hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
