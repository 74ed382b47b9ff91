"""The sin-cos table."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marlin_sdk.model.positions import sinusoid_positions


@given(st.integers(1, 64), st.integers(1, 48), st.data())
def test_each_entry_follows_the_formula(num_tokens: int, dim: int, data: st.DataObject) -> None:
    table = sinusoid_positions(num_tokens, dim)
    assert (table.shape, table.dtype) == ((1, num_tokens, dim), torch.float32)
    position, column = data.draw(st.integers(0, num_tokens - 1)), data.draw(st.integers(0, dim - 1))
    angle = position / 10000 ** (2 * (column // 2) / dim)
    expected = math.cos(angle) if column % 2 else math.sin(angle)
    assert table[0, position, column].item() == pytest.approx(expected, abs=1e-5)


def test_far_positions_are_accurate_in_single_precision() -> None:
    table = sinusoid_positions(1568, 384)
    angles = torch.tensor([1567 / 10000 ** (2 * (column // 2) / 384) for column in range(384)], dtype=torch.float64)
    expected = torch.where(torch.arange(384) % 2 == 0, angles.sin(), angles.cos())
    assert (table[0, -1].double() - expected).abs().max() < 5e-4


def test_table_costs_no_memory_on_the_meta_device() -> None:
    """A checkpoint may claim any size; its network is first created on the meta device."""
    with torch.device("meta"):
        table = sinusoid_positions(1 << 30, 1 << 16)
    assert table.is_meta
    assert table.shape == (1, 1 << 30, 1 << 16)
