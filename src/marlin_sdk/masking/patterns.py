"""Which tokens of a clip are visible in pretraining: face-region masks, and the plain ones they are compared with.

Every strategy is an order of preference over the tokens of a clip, and the first tokens of that order are visible. So
each clip has exactly as many visible tokens as the next, whatever its parse holds. Source: MARLIN (arXiv 2211.06627),
section 3.1; where this differs from the text or from the published code, tests/unit/masking/test_patterns.py says why.
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

__all__ = ["Strategy", "count_visible", "make_masks"]

Strategy = Literal["fasking", "fasking_opp", "tube", "random", "frame"]
_UNPARSED = len(REGIONS)  # comes after every region
_HELD = (np.arange(1 << len(REGIONS)) >> np.arange(len(REGIONS))[:, None]) & 1 == 1  # by region and byte: is it in it


def make_masks(
    regions: Tensor | NDArray[np.uint8] | None,
    *,
    strategy: Strategy = "fasking",
    ratio: float = 0.9,
    seeds: Sequence[int] | Tensor | NDArray[np.integer],
    grid: tuple[int, int, int] = (8, 14, 14),
) -> Tensor:
    """Draw a mask for each clip of a batch; a clip's mask depends on its own regions and seed alone.

    - "fasking": background cells of a tubelet are visible first, then skin, then the parts of the face in an order
      drawn once a clip, until a region brings the tubelet's visible share to `1 - ratio`; of these cells, over the
      whole clip, a random choice stays visible.
    - "fasking_opp": the same with the order turned round: the parts of the face are visible first.
    - "tube": the same cells in every tubelet.
    - "random": any tokens.
    - "frame": whole tubelets.

    What does not come out even is cut: at 0.9 of 8x14x14, "tube" shows 19 whole tubes and 4 tokens of one more, and
    "frame" 156 tokens of one tubelet.

    Args:
        regions: uint8 (B, t, h, w), bit k set where a token's first frame shows `REGIONS[k]`; None will do for the
            strategies that do not look at the face.
        strategy: see above.
        ratio: share of tokens that is hidden, in (0, 1).
        seeds: one whole number >= 0 for each clip.
        grid: tokens along (time, height, width).
    Returns:
        bool (B, t*h*w) on the CPU, True where VISIBLE, `count_visible(t*h*w, ratio)` in each row.
    Raises:
        ConfigError: no such strategy, a ratio outside (0, 1) or that hides everything or nothing, a negative seed.
        ShapeError: `regions` is not uint8 (B, *grid), or is missing where it is needed.
    """
    if strategy not in get_args(Strategy):
        raise ConfigError(f"unknown masking {strategy!r}; expected one of {', '.join(get_args(Strategy))}")
    num_tokens = grid[0] * grid[1] * grid[2]
    num_visible = count_visible(num_tokens, ratio)
    keys = [int(seed) for seed in seeds]
    if negative := [seed for seed in keys if seed < 0]:
        raise ConfigError(f"seeds of masks are whole numbers of at least 0; got {negative[0]}")
    # One draw a clip: the token's own numbers, then those that order regions, tubes or frames.
    draws = np.empty((len(keys), num_tokens + max(grid[0], grid[1] * grid[2], len(FACE_PARTS))))
    for row, seed in zip(draws, keys, strict=True):
        np.random.default_rng(seed).random(out=row)
    own, shared = draws[:, :num_tokens].reshape(-1, grid[0], grid[1] * grid[2]), draws[:, num_tokens:]
    if strategy in ("fasking", "fasking_opp"):
        bits = _check_regions(regions, len(keys), grid).reshape(own.shape)
        own += _region_ranks(bits, _region_orders(shared, turned=strategy == "fasking_opp"), ratio)
    elif strategy == "tube":
        own += _ranks(shared[:, : own.shape[2]])[:, None, :]
    elif strategy == "frame":
        own += _ranks(shared[:, : own.shape[1]])[:, :, None]
    first = np.argpartition(own.reshape(-1, num_tokens), num_visible - 1, axis=1)[:, :num_visible]
    masks = np.zeros((len(keys), num_tokens), dtype=np.bool_)
    np.put_along_axis(masks, first, True, axis=1)
    return torch.from_numpy(masks)


def count_visible(num_tokens: int, ratio: float) -> int:
    """Visible tokens of a clip: `num_tokens * (1 - ratio)` rounded down, reckoned in decimal, as `ratio` is written.

    In floats 10 * (1 - 0.9) is 0.9999999999999998, and would leave none of ten.

    Raises:
        ConfigError: `ratio` is not inside (0, 1), or leaves no token visible, or none hidden.
    """
    if not 0 < ratio < 1:  # nor NaN
        raise ConfigError(f"masking ratio is {ratio!r}; expected a number between 0 and 1, 0.9 in the published model")
    count = int(num_tokens * _share(ratio))
    if not 0 < count < num_tokens:
        raise ConfigError(f"masking ratio {ratio!r} leaves {count} of {num_tokens} tokens visible; change the ratio")
    return count


def _share(ratio: float) -> Fraction:
    return 1 - Fraction(repr(float(ratio)))


def _check_regions(
    regions: Tensor | NDArray[np.uint8] | None, batch: int, grid: tuple[int, int, int]
) -> NDArray[np.uint8]:
    if regions is None:
        raise ShapeError('masking by regions needs them; pass regions=, or strategy="tube"')
    bits = regions.detach().cpu().numpy() if isinstance(regions, Tensor) else np.asarray(regions)
    if bits.dtype != np.uint8 or bits.shape != (batch, *grid):
        raise ShapeError(
            f"regions are uint8 {(batch, *grid)}, one map for each seed; got {bits.dtype} {tuple(bits.shape)}"
        )
    if bits.size and bits.max() >= 1 << len(REGIONS):
        raise ShapeError(f"regions hold a bit {int(bits.max()).bit_length() - 1}; there are {len(REGIONS)} regions")
    return bits


def _ranks(draws: NDArray[np.float64]) -> NDArray[np.intp]:
    """The place of each value in the order of its row."""
    return draws.argsort(axis=1).argsort(axis=1)


def _region_orders(draws: NDArray[np.float64], *, turned: bool) -> NDArray[np.intp]:
    """For each clip the regions in order of preference, (B, 7): background, skin, then the parts as drawn."""
    parts = np.array([REGIONS.index(part) for part in FACE_PARTS])[draws[:, : len(FACE_PARTS)].argsort(axis=1)]
    first = np.array([REGIONS.index("background"), REGIONS.index("skin")])
    orders = np.concatenate([np.broadcast_to(first, (len(draws), 2)), parts], axis=1)
    return orders[:, ::-1] if turned else orders


def _region_ranks(bits: NDArray[np.uint8], orders: NDArray[np.intp], ratio: float) -> NDArray[np.int32]:
    """How late each cell becomes visible, (B, t, h*w): 0 for the cells of a tubelet that Fasking chooses from.

    The others follow in the order of their region, for the clip whose parse is too poor to choose from.
    """
    clips, tubelets, cells = bits.shape
    # The best rank among the regions of a cell, by a table for each clip: 128 entries instead of 7 looks at each cell.
    table = np.full((clips, len(_HELD[0])), _UNPARSED, dtype=np.int32)
    for rank in reversed(range(len(REGIONS))):
        table[_HELD[orders[:, rank]]] = rank
    ranks = table.ravel()[bits + (np.arange(clips, dtype=np.int32) * table.shape[1])[:, None, None]]
    bins = ranks + (np.arange(clips * tubelets, dtype=np.int32) * (_UNPARSED + 1)).reshape(clips, tubelets, 1)
    counts = np.bincount(bins.ravel(), minlength=clips * tubelets * (_UNPARSED + 1))
    shown = counts.reshape(clips, tubelets, -1)[..., :_UNPARSED].cumsum(axis=2)
    last = np.minimum((shown < ceil(cells * _share(ratio))).sum(axis=2), _UNPARSED - 1)
    return np.where(ranks <= last[..., None], 0, ranks + 1)
