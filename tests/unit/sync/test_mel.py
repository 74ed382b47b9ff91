"""The log-mel spectrogram, against librosa's numbers and against what a tone must give."""

from __future__ import annotations

import numpy as np
import pytest

from marlin_sdk.sync import mel
from marlin_sdk.sync.mel import BANDS, STEPS_PER_S, log_mel, mel_filters
from marlin_sdk.video.sound import SOUND_RATE, Sound

# librosa 0.11, filters.mel(sr=16000, n_fft=800, n_mels=80, fmin=55, fmax=7600): bins above zero, the highest bin, its
# value, and the sum of the filter.
LIBROSA = {
    0: (4, 5, 0.020812449976801872, 0.049364086240530014),
    40: (6, 86, 0.014343159273266792, 0.04992355406284332),
    79: (27, 366, 0.00363533990457654, 0.0499795563519001),
}


def tone(hz: float, seconds: float = 1.0, level: float = 0.5) -> Sound:
    return Sound(
        (level * np.sin(2 * np.pi * hz * np.arange(int(seconds * SOUND_RATE)) / SOUND_RATE)).astype(np.float32)
    )


@pytest.mark.parametrize("band", sorted(LIBROSA))
def test_filters_are_those_of_librosa(band: int) -> None:
    row = mel_filters()[band]
    width, peak, height, area = LIBROSA[band]
    assert (int((row > 0).sum()), int(row.argmax())) == (width, peak)
    assert row.max() == pytest.approx(height, rel=1e-5)
    assert row.sum() == pytest.approx(area, rel=1e-5)


def test_a_tone_is_loudest_in_its_band_and_a_step_every_80th_of_a_second() -> None:
    heard = log_mel(tone(1000))
    assert heard.values.shape == (STEPS_PER_S + 1, BANDS)
    bins = np.linspace(0, SOUND_RATE / 2, 401)
    centre_hz = bins[mel_filters()[int(heard.values[40].argmax())].argmax()]
    assert centre_hz == pytest.approx(1000, abs=40)
    assert heard.end_s == pytest.approx(1)


def test_ten_times_the_level_is_one_more() -> None:
    loud, quiet = log_mel(tone(1000)).values[40].max(), log_mel(tone(1000, level=0.05)).values[40].max()
    assert loud - quiet == pytest.approx(1, abs=0.01)
    assert log_mel(Sound(np.zeros(4000, np.float32))).values.max() == -2


def test_a_click_is_at_its_step() -> None:
    samples = np.zeros(SOUND_RATE, dtype=np.float32)
    samples[SOUND_RATE // 2] = 1
    levels = log_mel(Sound(samples)).values.max(axis=1)
    assert abs(int(levels.argmax()) - STEPS_PER_S // 2) <= 1
    assert levels[STEPS_PER_S // 2 + 4] == -2


def test_blocks_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Sound(np.random.default_rng(0).standard_normal(12_345).astype(np.float32))
    whole = log_mel(sound)
    monkeypatch.setattr(mel, "_BLOCK", 7)
    np.testing.assert_allclose(log_mel(sound).values, whole.values, atol=1e-5)
    assert len(whole.values) == 12_345 // 200 + 1
