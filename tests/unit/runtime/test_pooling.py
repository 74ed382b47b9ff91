"""Vectors for slices of time and regions of the face, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.making import TINY

from marlin_sdk import ShapeError
from marlin_sdk.config import REGION_POOLS, Pool
from marlin_sdk.runtime.pooling import pool_regions, pool_time, pooled_shape

TOKENS = torch.from_numpy(np.random.default_rng(0).standard_normal((3, 32, 5)).astype(np.float32))


def bits(seed: int) -> NDArray[np.uint8]:
    """uint8 (8, 2, 2): some tokens belong to no region, some to several, each region has one."""
    drawn = np.random.default_rng(seed).integers(0, 16, TINY.grid, dtype=np.uint8)
    drawn[0, 0] = (15, 0)
    return drawn


def test_slices_are_means_over_the_tokens_of_one_time() -> None:
    got = pool_time(TOKENS, TINY)
    assert got.shape == (3, 8, 5)
    for index in range(8):
        expected = TOKENS[:, 4 * index : 4 * index + 4].numpy().mean(axis=1)
        np.testing.assert_allclose(got[:, index].numpy(), expected, atol=1e-6)


def test_regions_are_means_over_their_own_tokens_in_every_slice() -> None:
    regions = [bits(seed) for seed in range(3)]
    got = pool_regions(TOKENS, regions, TINY).numpy()
    assert got.shape == (3, 4, 5)
    for clip, (tokens, own) in enumerate(zip(TOKENS.numpy(), regions, strict=True)):
        for bit in range(len(REGION_POOLS)):
            expected = tokens[(own.reshape(-1) >> bit) & 1 == 1].mean(axis=0)
            np.testing.assert_allclose(got[clip, bit], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, r"got none; cut it with that pool"),
        (np.full((8, 14, 14), 15, dtype=np.uint8), r"needs uint8 \(8, 2, 2\) with each clip; got uint8 \(8, 14, 14\)"),
        (np.full((8, 2, 2), 15), r"got int64"),
        (np.full((8, 2, 2), 7, dtype=np.uint8), r"a region of eyes, nose, mouth, skin has no token"),
    ],
)
def test_regions_that_do_not_fit_are_refused(wrong: NDArray[np.uint8] | None, said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        pool_regions(TOKENS, [bits(0), wrong, bits(2)], TINY)


@pytest.mark.parametrize(
    ("pool", "keep_seq", "shape"),
    [("mean", False, (32,)), ("time", False, (8, 32)), ("regions", False, (4, 32)), ("mean", True, (32, 32))],
)
def test_shape_of_a_row(pool: Pool, keep_seq: bool, shape: tuple[int, ...]) -> None:
    assert pooled_shape(pool, TINY, keep_seq=keep_seq) == shape
