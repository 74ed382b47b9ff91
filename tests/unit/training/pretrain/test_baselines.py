"""The mean face, the still face and the moving parts, by hand."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.making import TINY
from torch import Tensor

from marlin_sdk.errors import ShapeError
from marlin_sdk.model.tubelets import to_tubelets
from marlin_sdk.training.pretrain.baselines import (
    mean_face,
    mean_face_tubelets,
    moving_tubelets,
    still_face_tubelets,
    sum_frames,
)
from marlin_sdk.training.pretrain.losses import masked_tubelets

# The grid is 8x2x2: token 4 t + 2 row + column, tubelets of 2x16x16 pixels.
GREY = torch.full((32, 32, 3), 0.25)


def shown(*tokens: int) -> Tensor:
    """A mask of one clip in which only these tokens are visible."""
    mask = torch.zeros(1, 32, dtype=torch.bool)
    mask[0, list(tokens)] = True
    return mask


def a_still_clip(seed: int = 0) -> Tensor:
    """Noise that is the same in all frames, (1, 3, 16, 32, 32)."""
    picture = torch.randint(0, 256, (1, 3, 1, 32, 32), generator=torch.Generator().manual_seed(seed)) / 255
    return picture.expand(-1, -1, 16, -1, -1).clone()


def errors(filled: Tensor, pixels: Tensor, mask: Tensor) -> Tensor:
    return (filled - masked_tubelets(pixels, mask, TINY)).square().mean(dim=2)


# The mean face -------------------------------------------------------------------------------------------------------


def test_mean_face_of_constant_clips_is_their_mean() -> None:
    clips = [torch.full((16, 32, 32, 3), level, dtype=torch.uint8) for level in (0, 51, 255)]
    face = mean_face(sum_frames(clips, TINY), TINY)
    assert face.shape == (32, 32, 3)
    assert torch.equal(face, torch.full((32, 32, 3), 0.4))


def test_mean_face_is_a_mean_at_each_position_over_clips_and_time() -> None:
    first, second = torch.zeros(2, 16, 32, 32, 3, dtype=torch.uint8)
    first[:4, 5, 7, 1] = 255  # a quarter of the frames of one of two clips
    face = mean_face(sum_frames([first, second], TINY), TINY)
    assert face[5, 7, 1] == 1 / 8
    assert face.sum() == 1 / 8


def test_sums_of_processes_add_up_to_those_of_all_clips() -> None:
    clips = torch.randint(0, 256, (5, 16, 32, 32, 3), dtype=torch.uint8)
    assert torch.equal(sum_frames(clips[:2], TINY) + sum_frames(clips[2:], TINY), sum_frames(clips, TINY))
    expected = clips.double().mean(dim=(0, 1)) / 255
    assert torch.allclose(mean_face(sum_frames(clips, TINY), TINY).double(), expected, atol=1e-7)


def test_masked_tubelets_are_cut_from_the_mean_face_at_their_place() -> None:
    face = torch.rand(32, 32, 3)
    filled = mean_face_tubelets(face, shown(*range(30)), TINY)  # hidden: time 7, row 1, both columns
    assert filled.shape == (1, 2, 1536)
    left, right = filled[0].reshape(2, 3, 2, 16, 16)
    for frame in range(2):
        assert torch.equal(left[:, frame], face[16:, :16].permute(2, 0, 1))
        assert torch.equal(right[:, frame], face[16:, 16:].permute(2, 0, 1))


@pytest.mark.parametrize(
    "clip",
    [torch.zeros(16, 32, 32, 3), torch.zeros(16, 16, 32, 3, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8)],
    ids=["floats", "size", "shape"],
)
def test_clip_that_does_not_fit_is_refused(clip: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"a training clip is uint8 \(16, 32, 32, 3\); got"):
        sum_frames([clip], TINY)


def test_mean_face_of_nothing_is_refused() -> None:
    with pytest.raises(ShapeError, match="at least one clip; got none"):
        mean_face(sum_frames([], TINY), TINY)


# The still face ------------------------------------------------------------------------------------------------------


def test_still_clip_has_no_error_where_a_cell_is_visible_at_any_time() -> None:
    pixels, mask = a_still_clip(), shown(0, 4, 12, 5, 30, 7)  # all four cells; the first in three time steps
    found = errors(still_face_tubelets(pixels, mask, GREY, TINY), pixels, mask)
    assert torch.equal(found, torch.zeros(1, 26))


def test_cell_that_is_never_visible_holds_the_mean_face() -> None:
    """Cell 3 has no visible token; its 8 tubelets are the last of each time step."""
    face = torch.rand(32, 32, 3)
    pixels, mask = a_still_clip(), shown(0, 1, 2)
    filled = still_face_tubelets(pixels, mask, face, TINY)
    hidden = (~mask[0]).nonzero()[:, 0]
    mean = mean_face_tubelets(face, mask, TINY)
    assert torch.equal(filled[:, hidden % 4 == 3], mean[:, hidden % 4 == 3])
    assert torch.equal(errors(filled, pixels, mask)[:, hidden % 4 != 3], torch.zeros(1, 21))


def test_cell_holds_the_mean_over_time_of_its_visible_frames() -> None:
    """Cell 0 is visible in time steps 0 and 3, whose frames are 0.2, 0.4 and 0.6, 1.0: their mean is 0.55."""
    pixels = torch.zeros(1, 3, 16, 32, 32)
    pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 6], pixels[:, :, 7] = 0.2, 0.4, 0.6, 1.0
    filled = still_face_tubelets(pixels, shown(0, 12), GREY, TINY)
    assert filled.shape == (1, 30, 1536)
    hidden = [token for token in range(32) if token not in (0, 12)]
    expected = torch.tensor([0.55 if token % 4 == 0 else 0.25 for token in hidden])
    assert torch.allclose(filled[0], expected[:, None].expand(-1, 1536))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), num_visible=st.integers(1, 31))
def test_no_hidden_pixel_reaches_the_still_face(seed: int, num_visible: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels, other = torch.rand(2, 2, *TINY.clip_shape, generator=generator)
    mask = torch.rand(2, 32, generator=generator).argsort(dim=1) < num_visible
    seen = mask.reshape(2, 1, 8, 2, 2).repeat_interleave(2, 2).repeat_interleave(16, 3).repeat_interleave(16, 4)
    changed = torch.where(seen, pixels, other)
    changed[(~seen).expand_as(changed) & (changed > 0.9)] = torch.nan
    assert torch.equal(to_tubelets(changed, TINY)[mask], to_tubelets(pixels, TINY)[mask])
    face = torch.rand(32, 32, 3, generator=generator)
    before, after = (still_face_tubelets(clips, mask, face, TINY) for clips in (pixels, changed))
    assert torch.equal(before, after)
    assert before.isfinite().all()


def test_each_clip_of_a_batch_has_its_own_still_face() -> None:
    pixels = torch.rand(3, *TINY.clip_shape)
    mask = torch.rand(3, 32).argsort(dim=1) < 5
    together = still_face_tubelets(pixels, mask, GREY, TINY)
    alone = [still_face_tubelets(pixels[[i]], mask[[i]], GREY, TINY) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))


def test_mask_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"a mask is bool \(1, 32\)"):
        still_face_tubelets(a_still_clip(), torch.zeros(1, 31, dtype=torch.bool), GREY, TINY)


# The moving parts ----------------------------------------------------------------------------------------------------


def test_only_the_cell_that_moves_is_a_moving_part() -> None:
    """Cell 2 is dark, and light in the last time step; of its hidden tubelets that one differs most from its mean."""
    pixels = a_still_clip()
    pixels[:, :, :14, 16:, :16] = 0.2
    pixels[:, :, 14:, 16:, :16] = 0.6
    mask = shown(0, 1, 2, 3)
    moving = moving_tubelets(pixels, mask, TINY)
    hidden = (~mask[0]).nonzero()[:, 0]
    # 28 masked tubelets, so 3: the light one, and the first two of the dark ones, which all differ by the same.
    assert hidden[moving[0]].tolist() == [4 * 1 + 2, 4 * 2 + 2, 4 * 7 + 2]
    found = errors(still_face_tubelets(pixels, mask, GREY, TINY), pixels, mask)
    assert torch.allclose(found[moving], torch.tensor([0.0, 0.0, 0.16]))
    assert float(found.sum()) == pytest.approx(0.16)


def test_moving_parts_are_fewer_than_a_tenth_if_fewer_move() -> None:
    """Half of the frames of one hidden tubelet differ: those of its cell's mean beside it hardly do."""
    pixels = a_still_clip().clamp(0, 0.5)
    mask = shown(*(token for token in range(32) if token not in (3, 7, 12, 16, 20)))
    assert moving_tubelets(pixels, mask, TINY).sum() == 0
    pixels[:, :, 6, :16, :16] += 0.004  # token 12; a tenth of 5 is one
    assert moving_tubelets(pixels, mask, TINY).sum() == 1
    assert moving_tubelets(pixels, mask, TINY)[0, 2]


def test_motion_below_half_a_level_is_rounding() -> None:
    pixels = a_still_clip().clamp(0, 0.9)
    pixels[:, :, ::2] += 0.9 / 255  # the mean is 0.45 levels away
    assert not moving_tubelets(pixels, shown(0), TINY).any()
    pixels[:, :, ::2] += 0.2 / 255
    assert moving_tubelets(pixels, shown(0), TINY).sum() == 4  # a tenth of 31, rounded up


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), num_visible=st.integers(1, 31))
def test_moving_parts_are_the_tenth_with_the_largest_motion(seed: int, num_visible: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(2, *TINY.clip_shape, generator=generator)
    mask = torch.rand(2, 32, generator=generator).argsort(dim=1) < num_visible
    moving = moving_tubelets(pixels, mask, TINY)
    assert moving.sum(dim=1).tolist() == [-(-(32 - num_visible) // 10)] * 2
    for clip, hidden, chosen in zip(pixels, ~mask, moving, strict=True):
        motion = []
        for token in hidden.nonzero()[:, 0].tolist():
            step, row, column = token // 4, token // 2 % 2, token % 2
            cell = clip[:, :, 16 * row :, 16 * column :][:, :, :16, :16]
            motion.append(float((cell[:, 2 * step : 2 * step + 2] - cell.mean(dim=1, keepdim=True)).square().mean()))
        found = torch.tensor(motion)
        assert not (~chosen).any() or found[chosen].min() >= found[~chosen].max() - 1e-7
