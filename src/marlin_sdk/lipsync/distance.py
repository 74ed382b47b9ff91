"""How far made faces are from real ones as a whole: a Fréchet distance in the space of a MARLIN encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from marlin_sdk.evaluation.frechet.compare import frechet
from marlin_sdk.evaluation.frechet.results import Frechet
from marlin_sdk.evaluation.frechet.sets import FeatureSet
from marlin_sdk.lipsync.clips import TalkingClip, scaled
from marlin_sdk.lipsync.maker import window_starts
from marlin_sdk.model import Encoder

__all__ = ["frechet_of_faces"]


def frechet_of_faces(
    clips: Sequence[TalkingClip], made: Callable[[TalkingClip], NDArray[np.uint8]], encoder: Encoder
) -> Frechet:
    """The Fréchet distance of real windows and of made ones, whole faces; windows of a clip are drawn together.

    Args:
        clips: real.
        made: makes the faces of a clip.
        encoder: its mean tokens are compared.
    Raises:
        ConfigError: too few windows.
    """
    real_rows, made_rows, groups = [], [], []
    for clip in clips:
        real_rows.append(_embed(clip.crops, encoder))
        made_rows.append(_embed(made(clip), encoder))
        groups += [clip.name] * len(real_rows[-1])
    names = np.array(groups)
    return frechet(
        FeatureSet("real faces", np.concatenate(real_rows), names),
        FeatureSet("made faces", np.concatenate(made_rows), names),
    )


def _embed(crops: NDArray[np.uint8], encoder: Encoder) -> NDArray[np.float32]:
    """One row a window, float32 (N, D)."""
    model = encoder.config
    small = scaled(crops, model.img_size)
    starts = np.array(window_starts(len(small), model.n_frames))
    rows = np.minimum(starts[:, None] + np.arange(model.n_frames), len(small) - 1)
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        parts = [
            encoder(torch.from_numpy(small[one][None]).to(device).permute(0, 4, 1, 2, 3).float().div_(255))
            for one in rows
        ]
    return np.asarray(torch.cat(parts).float().cpu().numpy())
