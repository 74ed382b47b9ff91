"""Masks: True where visible."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from marlin_sdk.errors import ShapeError
from marlin_sdk.model.masks import check_mask, pick


@given(st.integers(1, 4), st.integers(1, 40), st.data())
def test_picks_the_visible_tokens_of_each_row_in_order(batch: int, num_tokens: int, data: st.DataObject) -> None:
    visible = data.draw(st.integers(0, num_tokens))
    rows = [sorted(data.draw(st.permutations(range(num_tokens)))[:visible]) for _ in range(batch)]
    mask = torch.zeros(batch, num_tokens, dtype=torch.bool)
    for row, columns in enumerate(rows):
        mask[row, columns] = True
    tokens = torch.arange(batch * num_tokens * 3, dtype=torch.float32).view(batch, num_tokens, 3)
    check_mask(mask, batch, num_tokens)
    expected = torch.stack([tokens[row, columns] for row, columns in enumerate(rows)])
    assert torch.equal(pick(tokens, mask), expected.view(batch, visible, 3))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(2, 32), r"bool \(2, 32\).*float32 \(2, 32\)"),
        (torch.ones(2, 32, dtype=torch.long), "int64"),
        (torch.ones(2, 31, dtype=torch.bool), r"got torch\.bool \(2, 31\)"),
        (torch.ones(1, 32, dtype=torch.bool), r"\(1, 32\)"),
        (torch.ones(32, dtype=torch.bool), r"\(32,\)"),
        (torch.arange(64).view(2, 32) < 40, r"got \[32, 8\]"),  # 40 tokens: they would make two rows of 20
    ],
)
def test_mask_that_would_mix_clips_is_refused(mask: Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        check_mask(mask, 2, 32)
