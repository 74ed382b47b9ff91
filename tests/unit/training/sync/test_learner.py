"""The loss: which sound belongs to a window?"""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.training.sync.learner import contrast

BATCH, WINDOWS, SHIFTS, DIM = 3, 2, 31, 64


def random_faces(seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(BATCH, WINDOWS, 8, DIM, generator=torch.Generator().manual_seed(seed)), dim=-1)


def sounds_like(faces: torch.Tensor, at: int) -> torch.Tensor:
    """Unrelated sounds, but at one shift, where they are the faces."""
    sounds = torch.randn(BATCH, SHIFTS, WINDOWS, 8, DIM, generator=torch.Generator().manual_seed(9))
    sounds[:, at] = faces
    return sounds


def test_loss_is_small_where_the_sound_in_time_is_the_nearest() -> None:
    faces, valid, scale = random_faces(), torch.ones(BATCH, SHIFTS, WINDOWS, dtype=torch.bool), torch.tensor(20.0)
    loss, near = contrast(faces, sounds_like(faces, 15), valid, scale)
    assert loss < 0.01
    assert near == 1
    late, near = contrast(faces, sounds_like(faces, 20), valid, scale)
    assert late > 5
    assert near == 0


def test_loss_of_equals_is_the_logarithm_of_their_number() -> None:
    faces = random_faces()
    same = torch.ones(BATCH, SHIFTS, WINDOWS, 8, DIM)
    loss, _ = contrast(
        torch.ones_like(faces), same, torch.ones(BATCH, SHIFTS, WINDOWS, dtype=torch.bool), torch.tensor(1.0)
    )
    others = (BATCH - 1) * WINDOWS  # of other videos: windows of one video are no negatives
    assert float(loss) == pytest.approx(math.log(SHIFTS + others))


def test_shifts_without_sound_are_no_negatives_and_windows_without_it_do_not_count() -> None:
    faces, scale = random_faces(), torch.tensor(5.0)
    sounds, valid = sounds_like(faces, 15), torch.ones(BATCH, SHIFTS, WINDOWS, dtype=torch.bool)
    valid[:, 20:] = False
    less, _ = contrast(faces, sounds, valid, scale)
    changed = sounds.clone()
    changed[:, 20:] = 7.0
    again, _ = contrast(faces, changed, valid, scale)
    assert float(again) == pytest.approx(float(less))
    valid[0, :, :] = False
    changed[0] = 3.0
    without, _ = contrast(faces, changed, valid, scale)
    assert torch.isfinite(without)
    valid[:] = False
    nothing, near = contrast(faces, sounds, valid, scale)
    assert float(nothing) == 0
    assert float(near) == 0
