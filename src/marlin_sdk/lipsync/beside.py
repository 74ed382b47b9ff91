"""A film of real and made faces, one above the other, for eyes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.lipsync.clips import TalkingClip
from marlin_sdk.lipsync.film import COMMENT
from marlin_sdk.lipsync.maker import LipMaker
from marlin_sdk.lipsync.paste import draw_mark
from marlin_sdk.sync.network import FPS
from marlin_sdk.video.writer import write_video

__all__ = ["stack_faces", "write_beside"]

_SIDE_PX = 192


def write_beside(clip: TalkingClip, maker: LipMaker, path: Path) -> None:
    """Write the faces of a clip above those that are made for its own sound.

    Args:
        clip: the clip.
        maker: the network.
        path: .mp4, .mkv or .mov; its folder is created.
    Raises:
        FeatureFileError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    made = maker.make(clip.crops, clip.heard, start_s=clip.start_s)
    write_video(stack_faces(clip.crops, made), path, fps=FPS, metadata={"comment": COMMENT})


def stack_faces(real: NDArray[np.uint8], made: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Frames with a real face above a made one, which is marked.

    Args:
        real: uint8 (T, S, S, 3).
        made: of the same shape.
    """
    import cv2

    frames = []
    for above, below in zip(real, made, strict=True):
        scaled = [cv2.resize(one, (_SIDE_PX, _SIDE_PX), interpolation=cv2.INTER_CUBIC) for one in (above, below)]
        draw_mark(scaled[1])
        frames.append(np.concatenate(scaled))
    return frames
