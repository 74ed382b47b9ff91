"""The cepstral coefficients that SyncNet takes: 13, a hundred times a second."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.video.sound import SOUND_RATE

__all__ = ["COEFFICIENTS", "STEPS_PER_S", "cepstra"]

# The defaults of the package python_speech_features, with which SyncNet was trained.
COEFFICIENTS = 13
STEPS_PER_S = 100
_FILTERS, _TRANSFORM = 26, 512
_WINDOW, _HOP = 400, SOUND_RATE // STEPS_PER_S
_PREEMPHASIS, _LIFTER = 0.97, 22
_SCALE = 32768  # of 16-bit samples: the coefficients are not free of it
_BLOCK = 8192


def cepstra(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mel-frequency cepstral coefficients, the first replaced by the log energy.

    Args:
        samples: float32 (N,) in [-1, 1], at 16 kHz.
    Returns:
        (T, 13), windows of 25 ms every 10 ms, the last one filled up with zeros.
    """
    from scipy.fft import dct

    whole = np.round(samples.astype(np.float64) * _SCALE)
    emphasised = np.append(whole[:1], whole[1:] - _PREEMPHASIS * whole[:-1])
    count = 1 + max(0, -(-(len(whole) - _WINDOW) // _HOP))
    padded = np.pad(emphasised, (0, max(0, (count - 1) * _HOP + _WINDOW - len(whole))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP][:count]
    tiny = np.finfo(float).eps
    energies, bands = np.empty(count), np.empty((count, _FILTERS))
    filters = _filters()
    for first in range(0, count, _BLOCK):
        rows = slice(first, first + _BLOCK)
        power = np.abs(np.fft.rfft(frames[rows], _TRANSFORM)) ** 2 / _TRANSFORM
        energies[rows], bands[rows] = power.sum(axis=1), power @ filters.T
    logs = np.log(np.where(bands == 0, tiny, bands))
    found: NDArray[np.float64] = dct(logs, type=2, axis=1, norm="ortho")[:, :COEFFICIENTS]
    found *= 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFTER)
    found[:, 0] = np.log(np.where(energies == 0, tiny, energies))
    return found


def _filters() -> NDArray[np.float64]:
    """Triangles between whole bins, even on the mel scale 2595 log10(1 + f / 700), (26, 257)."""
    mels = np.linspace(0, 2595 * np.log10(1 + SOUND_RATE / 2 / 700), _FILTERS + 2)
    edges = np.floor((_TRANSFORM + 1) * 700 * (10 ** (mels / 2595) - 1) / SOUND_RATE)
    bins = np.arange(_TRANSFORM // 2 + 1)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))
