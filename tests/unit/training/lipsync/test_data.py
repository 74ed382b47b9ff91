"""Windows without a frame in common, and settings that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk.errors import ConfigError
from marlin_sdk.training.lipsync.config import LipsTrainConfig
from marlin_sdk.training.lipsync.data import separate_starts


@given(
    length=st.integers(1, 20), count=st.integers(1, 5), spare=st.integers(0, 60), seed=st.none() | st.integers(0, 99)
)
def test_windows_have_no_frame_in_common(length: int, count: int, spare: int, seed: int | None) -> None:
    span = length * count + spare
    rng = None if seed is None else np.random.default_rng(seed)
    starts = separate_starts(span, length, count, rng)
    assert starts[0] >= 0
    assert starts[-1] + length <= span
    assert (np.diff(starts) >= length).all()


def test_all_choices_are_drawn() -> None:
    rng = np.random.default_rng(0)
    found = {tuple(separate_starts(6, 2, 2, rng).tolist()) for _ in range(200)}
    assert found == {(0, 2), (0, 3), (0, 4), (1, 3), (1, 4), (2, 4)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sync_weight": 0.5, "adversarial_weight": 0.5}, "leave nothing for the picture"),
        ({"windows": 1}, "windows is 1"),
        ({"betas": [1.0, 0.9]}, "betas is"),
        ({"precision": "16"}, "precision is '16'"),
        ({"clip_norm": -1}, "clip_norm is -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LipsTrainConfig(**settings)
    with pytest.raises(ConfigError, match=r"has no settings \['wide'\]"):
        LipsTrainConfig.from_dict({"wide": 1})


def test_settings_are_read_as_they_are_written() -> None:
    config = LipsTrainConfig(batch_size=4, windows=3, accumulate=2, sync_from=0.5)
    assert LipsTrainConfig.from_dict(config.to_dict()) == config
    assert config.but(seed=3).seed == 3
    assert config.clips_per_step == 24
