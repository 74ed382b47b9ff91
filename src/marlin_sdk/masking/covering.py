"""CRFR-P masking: one random part of the face is covered wholly, and of everything else the same proportion.

Source: FSFM (CVPR 2025, arXiv 2412.12032) and FS-VFM (arXiv 2510.10663), which describe it for images: "covering a
random facial region, then proportional masking". Written from that description; for a clip the part is drawn once, and
proportions are over the whole clip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.face.regions.labels import FACE_PARTS, REGIONS

__all__ = ["GROUPS", "cover"]

GROUPS = (*FACE_PARTS, "skin", "background", "none")
"""The groups that divide the tokens of a clip.

A token belongs to the covered part if it has its bit. Otherwise it belongs to the first of its regions in this order:
parts of the face, skin, background; without any region to "none".
"""

_NO_PART = len(FACE_PARTS)  # the covered part of a clip without a face
_KEY_BITS = 59  # of a key below its group


def cover(bits: NDArray[np.uint8], draws: NDArray[np.float64], num_visible: int) -> NDArray[np.bool_]:
    """Choose the part to cover, and the visible tokens of the other groups, for each clip.

    The covered part is one of those that the clip shows, all equally likely. The visible tokens are divided between the
    other groups in proportion to their sizes, by largest remainders; of equal ones the first in the order of `GROUPS`.
    If the covered part has more tokens than are to be masked, all others are visible, and so is a random selection of
    the part.

    Args:
        bits: uint8 (B, N), bit k set where a token shows `REGIONS[k]`.
        draws: float64 (B, N + 5), in [0, 1): one for each token, then those that order the parts of the face.
        num_visible: visible tokens of each clip.
    Returns:
        bool (B, N), True where VISIBLE, `num_visible` in each row.
    """
    clips, num_tokens = bits.shape
    covered = _covered_parts(bits, draws[:, num_tokens:])
    groups = _GROUP_OF.take(bits + (covered * (1 << len(REGIONS)))[:, None])
    bins = groups + (np.arange(clips) * len(GROUPS))[:, None]
    sizes = np.bincount(bins.ravel(), minlength=clips * len(GROUPS)).reshape(clips, len(GROUPS))
    quotas = _quotas(sizes, covered, num_visible)
    # Sorted, the keys of a group follow those of the one before; the index makes all differ, so counts are exact.
    index_bits = num_tokens.bit_length()
    keys = (draws[:, :num_tokens] * (1 << (_KEY_BITS - index_bits))).astype(np.int64)
    keys <<= index_bits
    keys += np.arange(num_tokens)
    keys += groups << _KEY_BITS
    last_visible = np.maximum(sizes.cumsum(axis=1) - sizes + quotas - 1, 0)
    last_key = np.where(quotas > 0, np.take_along_axis(np.sort(keys, axis=1), last_visible, axis=1), -1)
    return np.asarray(keys <= last_key.take(bins))


def _covered_parts(bits: NDArray[np.uint8], draws: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each clip the index in `FACE_PARTS` of the part to cover, (B,); `_NO_PART` if it shows none."""
    shown = np.bitwise_or.reduce(bits, axis=1)
    present = (shown[:, None] >> _PART_BITS) & 1 == 1
    return np.where(present.any(axis=1), np.where(present, draws[:, : len(FACE_PARTS)], 2.0).argmin(axis=1), _NO_PART)


def _quotas(sizes: NDArray[np.intp], covered: NDArray[np.intp], num_visible: int) -> NDArray[np.intp]:
    """The visible tokens of each group, (B, groups)."""
    is_covered = np.arange(len(GROUPS)) == np.where(covered == _NO_PART, -1, covered)[:, None]
    others = np.where(is_covered, 0, sizes)
    total = others.sum(axis=1, keepdims=True)
    shared = np.minimum(num_visible, total)
    quotas, remainders = np.divmod(shared * others, np.maximum(total, 1))
    order = np.argsort(-remainders, axis=1, kind="stable").argsort(axis=1)
    quotas += order < shared - quotas.sum(axis=1, keepdims=True)
    return np.asarray(np.where(is_covered, num_visible - shared, quotas))


def _group_table() -> NDArray[np.int64]:
    """The group of each byte of bits, for each covered part and none of them, (6, 128)."""
    has = (np.arange(1 << len(REGIONS)) >> np.array([REGIONS.index(name) for name in GROUPS[:-1]])[:, None]) & 1 == 1
    first = np.where(has.any(axis=0), has.argmax(axis=0), len(GROUPS) - 1)
    return np.stack([*(np.where(has[part], part, first) for part in range(_NO_PART)), first])


_PART_BITS = np.array([REGIONS.index(part) for part in FACE_PARTS], dtype=np.uint8)
_GROUP_OF = _group_table()
