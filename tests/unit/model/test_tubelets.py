"""Converting clips to tubelets and back."""

from __future__ import annotations

import torch
from tests.making import TINY

from marlin_sdk.model.encoder import PatchEmbedding
from marlin_sdk.model.tubelets import from_tubelets, to_tubelets


def test_tubelets_are_in_token_order_with_pixels_by_channel_time_row_column() -> None:
    clips = torch.arange(2 * 3 * 16 * 32 * 32).reshape(2, *TINY.clip_shape)
    tubelets = to_tubelets(clips, TINY)
    assert tubelets.shape == (2, 32, 1536)
    t, h, w = 5, 1, 0
    block = clips[1, :, 2 * t : 2 * t + 2, 16 * h : 16 * h + 16, 16 * w : 16 * w + 16]
    assert torch.equal(tubelets[1, t * 4 + h * 2 + w], block.flatten())


def test_from_tubelets_is_the_inverse() -> None:
    clips = torch.rand(3, *TINY.clip_shape)
    assert torch.equal(from_tubelets(to_tubelets(clips, TINY), TINY), clips)


def test_order_is_that_of_the_patch_embedding() -> None:
    clips, embedding = torch.rand(1, *TINY.clip_shape), PatchEmbedding(TINY)
    weight, bias = embedding.projection.weight.flatten(1), embedding.projection.bias
    assert bias is not None
    assert torch.allclose(to_tubelets(clips, TINY) @ weight.T + bias, embedding(clips), atol=1e-5)
