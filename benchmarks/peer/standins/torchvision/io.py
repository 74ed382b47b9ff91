"""`read_video`, through PyAV."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import torch
from torch import Tensor


def read_video(filename: str) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """All frames of a file, uint8 (T, H, W, C), no audio, and its frame rate."""
    with av.open(filename) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        info = {"video_fps": float(stream.average_rate or 0)}
    return torch.from_numpy(np.stack(frames)), torch.empty(0), info
