"""Which tokens of a clip are visible in pretraining: face-region masks, and the baselines they are compared with.

Every strategy ranks the tokens of a clip, and the first tokens in that order are visible. So every clip has exactly the
same number of visible tokens, whatever its face parsing. Source: MARLIN (arXiv 2211.06627), section 3.1; where this
differs from the paper or from the published code, tests/unit/masking/test_patterns.py says why.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.errors import ConfigError, ShapeError
from marlin_sdk.face.regions.labels import FACE_PARTS, REGIONS
from marlin_sdk.masking.covering import cover

__all__ = ["REGION_STRATEGIES", "Strategy", "count_visible", "make_masks"]

Strategy = Literal["fasking", "fasking_opp", "crfr", "tube", "random", "frame"]

REGION_STRATEGIES: tuple[Strategy, ...] = ("fasking", "fasking_opp", "crfr")
"""The strategies that need the regions of the face."""

_NO_REGION = len(REGIONS)  # the rank of a token without regions: after every region
_HAS_REGION = (np.arange(1 << len(REGIONS)) >> np.arange(len(REGIONS))[:, None]) & 1 == 1  # by region and bits


def make_masks(
    regions: Tensor | NDArray[np.uint8] | None,
    *,
    strategy: Strategy = "fasking",
    ratio: float = 0.9,
    seeds: Sequence[int] | Tensor | NDArray[np.integer],
    grid: tuple[int, int, int] = (8, 14, 14),
) -> Tensor:
    """Make a random mask for each clip of a batch; it depends only on the clip's own regions and seed.

    - "fasking": background cells of a time step are visible first, then skin, then the parts of the face in an order
      drawn once per clip, until a region brings the step's visible fraction to `1 - ratio`; of these cells, over the
      whole clip, a random selection stays visible.
    - "fasking_opp": the same in reverse order: the parts of the face are visible first.
    - "crfr": one part of the face, drawn once per clip from those that it shows, is masked in every time step; of the
      background, the skin and every other part the same proportion of tokens, to within one token, stays visible. If
      that part alone exceeds what the ratio masks, all else is visible. See `marlin_sdk.masking.covering` for tokens of
      several regions. Source: CRFR-P of FSFM (CVPR 2025, arXiv 2412.12032).
    - "tube": the same cells in every time step.
    - "random": any tokens.
    - "frame": whole time steps.

    Remainders are cut: at 0.9 of 8x14x14, "tube" leaves 19 whole tubes and 4 tokens of one more visible, and "frame"
    156 tokens of one step.

    Args:
        regions: uint8 (B, t, h, w), bit k set where a token's first frame shows `REGIONS[k]`; may be None for the
            strategies that do not depend on the face.
        strategy: see above.
        ratio: fraction of tokens that is masked, in (0, 1).
        seeds: one integer >= 0 for each clip.
        grid: tokens along (time, height, width).
    Returns:
        bool (B, t*h*w) on the CPU, True where VISIBLE, `count_visible(t*h*w, ratio)` in each row.
    Raises:
        ConfigError: an unknown strategy, a ratio outside (0, 1) or that masks everything or nothing, a negative seed.
        ShapeError: `regions` is not uint8 (B, *grid), or is missing though required.
    """
    if strategy not in get_args(Strategy):
        raise ConfigError(f"unknown masking {strategy!r}; expected one of {', '.join(get_args(Strategy))}")
    num_tokens = grid[0] * grid[1] * grid[2]
    num_visible = count_visible(num_tokens, ratio)
    keys = [int(seed) for seed in seeds]
    if negative := [seed for seed in keys if seed < 0]:
        raise ConfigError(f"seeds of masks are integers of at least 0; got {negative[0]}")
    # One draw per clip: a number for each token, then those that order regions, tubes or time steps.
    draws = np.empty((len(keys), num_tokens + max(grid[0], grid[1] * grid[2], len(FACE_PARTS))))
    for row, seed in zip(draws, keys, strict=True):
        np.random.default_rng(seed).random(out=row)
    if strategy == "crfr":
        bits = _check_regions(regions, len(keys), grid)
        return torch.from_numpy(cover(bits.reshape(len(keys), num_tokens), draws, num_visible))
    order, shared = draws[:, :num_tokens].reshape(-1, grid[0], grid[1] * grid[2]), draws[:, num_tokens:]
    if strategy in ("fasking", "fasking_opp"):
        bits = _check_regions(regions, len(keys), grid).reshape(order.shape)
        order += _region_ranks(bits, _region_orders(shared, reverse=strategy == "fasking_opp"), ratio)
    elif strategy == "tube":
        order += _ranks(shared[:, : order.shape[2]])[:, None, :]
    elif strategy == "frame":
        order += _ranks(shared[:, : order.shape[1]])[:, :, None]
    first = np.argpartition(order.reshape(-1, num_tokens), num_visible - 1, axis=1)[:, :num_visible]
    masks = np.zeros((len(keys), num_tokens), dtype=np.bool_)
    np.put_along_axis(masks, first, True, axis=1)
    return torch.from_numpy(masks)


def count_visible(num_tokens: int, ratio: float) -> int:
    """Visible tokens of a clip: `num_tokens * (1 - ratio)` rounded down, computed in decimal, as `ratio` is written.

    In floats 10 * (1 - 0.9) is 0.9999999999999998, which would leave none of ten visible.

    Raises:
        ConfigError: `ratio` is not inside (0, 1), or leaves no token visible, or none masked.
    """
    if not 0 < ratio < 1:  # rejects NaN too
        raise ConfigError(f"masking ratio is {ratio!r}; expected a number between 0 and 1, 0.9 in the published model")
    count = int(num_tokens * _visible_fraction(ratio))
    if not 0 < count < num_tokens:
        raise ConfigError(f"masking ratio {ratio!r} leaves {count} of {num_tokens} tokens visible; change the ratio")
    return count


def _visible_fraction(ratio: float) -> Fraction:
    return 1 - Fraction(repr(float(ratio)))


def _check_regions(
    regions: Tensor | NDArray[np.uint8] | None, batch: int, grid: tuple[int, int, int]
) -> NDArray[np.uint8]:
    if regions is None:
        raise ShapeError('masking by face regions needs regions=; pass it, or strategy="tube"')
    bits = regions.detach().cpu().numpy() if isinstance(regions, Tensor) else np.asarray(regions)
    if bits.dtype != np.uint8 or bits.shape != (batch, *grid):
        raise ShapeError(
            f"regions are uint8 {(batch, *grid)}, one map for each seed; got {bits.dtype} {tuple(bits.shape)}"
        )
    if bits.size and bits.max() >= 1 << len(REGIONS):
        raise ShapeError(f"regions hold a bit {int(bits.max()).bit_length() - 1}; there are {len(REGIONS)} regions")
    return bits


def _ranks(draws: NDArray[np.float64]) -> NDArray[np.intp]:
    """The rank of each value in its row."""
    return draws.argsort(axis=1).argsort(axis=1)


def _region_orders(draws: NDArray[np.float64], *, reverse: bool) -> NDArray[np.intp]:
    """For each clip the regions in order of preference, (B, 7): background, skin, then the parts in random order."""
    parts = np.array([REGIONS.index(part) for part in FACE_PARTS])[draws[:, : len(FACE_PARTS)].argsort(axis=1)]
    first = np.array([REGIONS.index("background"), REGIONS.index("skin")])
    orders = np.concatenate([np.broadcast_to(first, (len(draws), 2)), parts], axis=1)
    return orders[:, ::-1] if reverse else orders


def _region_ranks(bits: NDArray[np.uint8], orders: NDArray[np.intp], ratio: float) -> NDArray[np.int32]:
    """The rank of each cell, (B, t, h*w): 0 for the cells of a time step from which Fasking selects.

    The others follow in the order of their region, for clips with too few cells to select from.
    """
    clips, steps, cells = bits.shape
    # The best rank among the regions of a cell, from a table per clip: 128 entries instead of 7 tests of each cell.
    table = np.full((clips, len(_HAS_REGION[0])), _NO_REGION, dtype=np.int32)
    for rank in reversed(range(len(REGIONS))):
        table[_HAS_REGION[orders[:, rank]]] = rank
    ranks = table.ravel()[bits + (np.arange(clips, dtype=np.int32) * table.shape[1])[:, None, None]]
    bins = ranks + (np.arange(clips * steps, dtype=np.int32) * (_NO_REGION + 1)).reshape(clips, steps, 1)
    counts = np.bincount(bins.ravel(), minlength=clips * steps * (_NO_REGION + 1))
    visible = counts.reshape(clips, steps, -1)[..., :_NO_REGION].cumsum(axis=2)
    last = np.minimum((visible < ceil(cells * _visible_fraction(ratio))).sum(axis=2), _NO_REGION - 1)
    return np.where(ranks <= last[..., None], 0, ranks + 1)
