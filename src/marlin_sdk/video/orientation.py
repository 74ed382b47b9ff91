"""The display orientation of a picture, from the display matrix of its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import av

__all__ = ["Orientation", "orientation_of"]


@dataclass(frozen=True)
class Orientation:
    """One of the eight display orientations of a picture: first transposed, then mirrored.

    Attributes:
        transposed: whether rows become columns.
        mirrored: whether left and right are swapped.
        upside_down: whether top and bottom are swapped.
    """

    transposed: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def apply(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A view of a stored picture (H, W, 3) as displayed: (W, H, 3) if it is transposed."""
        view = stored.swapaxes(0, 1) if self.transposed else stored
        return view[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


def orientation_of(picture: av.VideoFrame) -> Orientation:
    """The display orientation of a decoded picture; an oblique angle is rounded to the nearest quarter turn.

    The matrix is FFmpeg's: the stored point (x, y) is displayed at (a x + c y, b x + d y), up to a shift.
    """
    side_data: Any = picture.side_data
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5]
    if abs(b) > abs(a):
        return Orientation(transposed=True, mirrored=bool(c < 0), upside_down=bool(b < 0))
    return Orientation(mirrored=bool(a < 0), upside_down=bool(d < 0))
