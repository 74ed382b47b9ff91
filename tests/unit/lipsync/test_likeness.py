"""Measures of mouths, and baselines that copy the right ones."""

from __future__ import annotations

import numpy as np
import pytest
from tests.making import TINY, noise

from marlin_sdk.errors import ConfigError
from marlin_sdk.lipsync.clips import TalkingClip
from marlin_sdk.lipsync.files import LipsFacts
from marlin_sdk.lipsync.likeness import SeenMouths, likeness, sights, sounds_of_frames
from marlin_sdk.lipsync.maker import LipMaker
from marlin_sdk.lipsync.measuring import measure_lips
from marlin_sdk.lipsync.mouth import mouth_of_pixels
from marlin_sdk.lipsync.network import LipsConfig, LipsNetwork
from marlin_sdk.model import Encoder
from marlin_sdk.sync.mel import LogMel

HEARD = LogMel(np.random.default_rng(0).standard_normal((300, 80)).astype(np.float32), 0.0)
CLIP = TalkingClip("talk", noise(40, 64, 64), 0.2, HEARD)


def test_equal_mouths_have_no_error_and_other_ones_have() -> None:
    mouths = mouth_of_pixels(CLIP.crops)
    assert mouths.shape == (40, 20, 32, 3)
    same = likeness(mouths, mouths)
    assert same["error"] == 0
    assert same["psnr"] == np.inf
    assert same["ssim"] == pytest.approx(1)
    shifted = likeness(np.full_like(mouths, 100), np.full_like(mouths, 125))
    assert shifted["error"] == pytest.approx(25 / 255)
    assert shifted["psnr"] == pytest.approx(20 * np.log10(255 / 25), abs=1e-3)
    assert np.isnan(likeness(mouths[:, :8], mouths[:, :8])["ssim"])


def test_baselines_copy_the_nearest_by_sound_by_sight_and_by_the_answer() -> None:
    mouths = mouth_of_pixels(CLIP.crops)
    heard, seen = sounds_of_frames(HEARD, CLIP.times_s), sights(CLIP.crops)
    order = np.random.default_rng(1).permutation(40)
    copies = SeenMouths(mouths[order], heard[order], seen[order]).copies(CLIP)
    for name in ("seen mouth of the nearest sound", "seen mouth of the nearest upper face"):
        assert np.array_equal(copies[name], mouths)
    assert np.array_equal(copies["nearest seen mouth (knows the answer)"], mouths)
    mean = copies["mean seen mouth"]
    assert np.abs(mean - mouths.mean(axis=0)).max() <= 0.5
    assert mean.shape == mouths.shape


def test_report_is_of_clips_and_says_how_sure_it_is() -> None:
    config = LipsConfig(model=TINY.without_decoder(), size_px=64, width=16, sound_channels=8, sound_depth=1)
    maker = LipMaker(LipsNetwork(Encoder(config.model), config).eval(), LipsFacts(), device="cpu")
    clips = [TalkingClip(str(seed), np.roll(CLIP.crops, seed, axis=0) // (seed + 1), 0.0, HEARD) for seed in range(3)]
    report = measure_lips(clips, maker)
    made = report.mouths["made lips"]["error"]
    per_clip = [row["mouths"]["made lips"]["error"] for row in report.per_clip]
    assert made.value == pytest.approx(np.mean(per_clip))
    assert min(per_clip) - 1e-9 <= made.low <= made.value <= made.high <= max(per_clip) + 1e-9
    assert set(report.differences) == {"mouth of the reference"}
    assert report.timing == {}
    assert report.to_dict()["clips"] == ["0", "1", "2"]
    with pytest.raises(ConfigError, match="there are 1 clips"):
        measure_lips(clips[:1], maker)
