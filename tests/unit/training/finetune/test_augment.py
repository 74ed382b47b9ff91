"""What augmentation changes, and what it leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from marlin_sdk.training.finetune.augment import augment, mix, names_a_side
from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.finetune.objective import Wanted

CLIPS = torch.rand(8, 3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
STILL: dict[str, Any] = {"flip": False, "colour": 0.0, "crop_jitter": 0.0}


def changed(seed: int = 0, **settings: Any) -> torch.Tensor:
    return augment(CLIPS, FinetuneConfig(label="x", **{**STILL, **settings}), np.random.default_rng(seed))


def test_nothing_is_changed_where_nothing_is_asked_for() -> None:
    assert torch.equal(changed(), CLIPS)


def test_some_clips_are_mirrored_whole() -> None:
    out = changed(flip=True)
    kept = [bool(torch.equal(a, b)) for a, b in zip(out, CLIPS, strict=True)]
    mirrored = [bool(torch.equal(a, b.flip(-1))) for a, b in zip(out, CLIPS, strict=True)]
    assert [a ^ b for a, b in zip(kept, mirrored, strict=True)] == [True] * 8
    assert 0 < sum(mirrored) < 8


def test_mirroring_with_jitter_is_the_same_mirroring() -> None:
    out = changed(flip=True, crop_jitter=1e-9)
    plain = changed(flip=True)
    assert torch.allclose(out, plain, atol=1e-4)


def test_all_frames_of_a_clip_are_shifted_alike() -> None:
    still = CLIPS[:, :, :1].expand(-1, -1, 4, -1, -1)
    config = FinetuneConfig(label="x", **{**STILL, "crop_jitter": 0.2, "colour": 0.3})
    out = augment(still, config, np.random.default_rng(1))
    assert torch.allclose(out, out[:, :, :1].expand_as(out), atol=1e-6)
    assert not torch.allclose(out, still)
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1


def test_the_same_seed_gives_the_same_clips() -> None:
    every: dict[str, Any] = {"flip": True, "colour": 0.3, "crop_jitter": 0.1}
    assert torch.equal(changed(3, **every), changed(3, **every))
    assert not torch.equal(changed(3, **every), changed(4, **every))


def test_mixed_clips_are_between_two() -> None:
    wanted = Wanted(torch.eye(8), torch.ones(8, 1))
    out, mixed = mix(CLIPS, wanted, 0.5, np.random.default_rng(0))
    rebuilt = torch.einsum("bk,kcthw->bcthw", mixed.values, CLIPS)
    assert torch.allclose(out, rebuilt, atol=1e-5)
    assert mixed.values.sum(1) == pytest.approx(torch.ones(8))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("look_left", True), ("Right", True), ("eyesLeft", True), ("appearance.left-eye", True),
        ("bright", False), ("cleft", False), ("happy", False), ("upright", False),
    ],
)  # fmt: skip
def test_names_of_sides_are_recognised_as_words(text: str, *, named: bool) -> None:
    assert names_a_side(text) is named
