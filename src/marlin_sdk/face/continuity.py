"""Whether the picture, and a face in it, goes on from one frame to the next, or is cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FrameSketch", "is_abrupt"]

SKETCH_PX = 180  # shorter side of a sketch, at least
THUMBNAIL_PX = 16
MIN_OUTSIDE = 0.25  # of the picture, to judge it without the faces in it
PATCH_PX = 16
ALIGNED_PX, MARGIN_PX = 24, 4  # of a patch that may be shifted, and how far
MIN_VARIANCE = 4.0  # grey levels squared; a flatter patch shows nothing to compare


def is_abrupt(before: float | None, here: float, after: float | None, *, ratio: float) -> bool:
    """Whether a change stands out from its neighbours: a cut does, and motion, a flash or a fade does not.

    The comparison with neighbouring changes is that of PySceneDetect's AdaptiveDetector.

    Args:
        before: the change one step earlier; None at the start.
        here: the change in question.
        after: the change one step later; None at the end.
        ratio: how many times the larger neighbour it must be.
    """
    return here > ratio * max(before or 0.0, after or 0.0)


@dataclass(frozen=True)
class FrameSketch:
    """A small grey copy of a frame, and a 16x16 thumbnail in colour.

    Attributes:
        shape: of the frame.
        grey: uint8 (h, w), every `step`-th pixel of the frame.
        step: see `grey`.
        thumbnail: float32 (16, 16, 3), RGB.
    """

    shape: tuple[int, ...]
    grey: NDArray[np.uint8]
    step: int
    thumbnail: NDArray[np.float32]

    @classmethod
    def of(cls, rgb: NDArray[np.uint8]) -> FrameSketch:
        """Sketch a frame, uint8 (H, W, 3) in RGB."""
        import cv2

        step = max(1, min(rgb.shape[:2]) // SKETCH_PX)
        small = np.ascontiguousarray(rgb[::step, ::step])
        thumbnail = cv2.resize(small, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA).astype(np.float32)
        return cls(rgb.shape, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), step, thumbnail)

    def change_from(self, previous: FrameSketch, without: Sequence[NDArray[np.float64]] = ()) -> float:
        """How much the picture differs: mean absolute difference of the thumbnails, 0 to 255.

        Args:
            previous: of a frame of the same size.
            without: boxes to leave out, (4,) xyxy in pixels of the frame; ignored where little else would be left.
        """
        change = np.abs(self.thumbnail - previous.thumbnail).mean(axis=2)
        outside = np.ones(change.shape, dtype=np.bool_)
        cell = np.array([self.shape[1], self.shape[0]] * 2) / THUMBNAIL_PX
        for box in without:
            x1, y1, x2, y2 = (int(edge) for edge in np.clip(np.round(box / cell + (-0.5, -0.5, 0.5, 0.5)), 0, None))
            outside[y1:y2, x1:x2] = False
        return float(change[outside].mean() if outside.mean() >= MIN_OUTSIDE else change.mean())

    def face_change_from(self, previous: FrameSketch, box: NDArray[np.float64]) -> float:
        """How much the picture inside one box differs, whatever its brightness and contrast.

        Args:
            previous: of a frame of the same size.
            box: (4,) xyxy, in pixels of the frame.
        Returns:
            One minus the correlation of the grey values, 0 (the same) to 2; 0 where either shows nothing.
        """
        first, second = previous._patch(box, PATCH_PX, 0), self._patch(box, PATCH_PX, 0)
        if first is None or second is None:
            return 0.0
        first, second = (patch.astype(np.float64) - patch.mean() for patch in (first, second))
        return 1.0 - float((first * second).mean() / (first.std() * second.std()))

    def face_similarity(
        self, box: NDArray[np.float64], previous: FrameSketch, previous_box: NDArray[np.float64]
    ) -> float | None:
        """How alike the faces in two boxes are, shifted to fit.

        Args:
            box: in this frame, (4,) xyxy, in pixels of the frame.
            previous: another frame.
            previous_box: in that one.
        Returns:
            The best correlation, -1 to 1; None where either shows nothing.
        """
        import cv2

        here = self._patch(box, ALIGNED_PX + 2 * MARGIN_PX, MARGIN_PX)
        there = previous._patch(previous_box, ALIGNED_PX + 2 * MARGIN_PX, MARGIN_PX)
        if here is None or there is None:
            return None
        inner = there[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
        return float(cv2.matchTemplate(here, inner, cv2.TM_CCOEFF_NORMED).max())

    def _patch(self, box: NDArray[np.float64], size_px: int, margin_px: int) -> NDArray[np.uint8] | None:
        """The square around a box with its margin, scaled; None where it is flat or outside."""
        import cv2

        centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() / 2
        half *= size_px / (size_px - 2 * margin_px)
        height, width = self.grey.shape
        low = np.floor((centre - half) / self.step).astype(int)
        high = np.maximum(np.ceil((centre + half) / self.step).astype(int), low + 1)
        inside = self.grey[max(low[1], 0) : max(high[1], 0), max(low[0], 0) : max(high[0], 0)]
        if not inside.size:
            return None
        over = (max(-low[1], 0), max(high[1] - height, 0), max(-low[0], 0), max(high[0] - width, 0))
        if any(over):
            inside = cv2.copyMakeBorder(inside, *over, cv2.BORDER_REPLICATE)
        patch = cv2.resize(inside, (size_px, size_px), interpolation=cv2.INTER_AREA)
        return None if patch.var() < MIN_VARIANCE else np.asarray(patch, dtype=np.uint8)
