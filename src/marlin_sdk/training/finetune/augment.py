"""Light augmentation of a batch of clips: mirrored, recoloured, shifted, mixed; the same in all frames of a clip."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.training.finetune.config import FinetuneConfig
from marlin_sdk.training.finetune.objective import Wanted

__all__ = ["SIDES", "augment", "mix", "names_a_side"]

SIDES = ("left", "right")
_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def names_a_side(text: str) -> bool:
    """Whether a name speaks of left or right, so that a mirrored face would have another label."""
    words = "".join(char if char.isalnum() else " " for char in _split_case(text)).lower().split()
    return any(word in SIDES for word in words)


def _split_case(text: str) -> str:
    """LookLeft as "Look Left"."""
    return "".join(f" {char}" if char.isupper() else char for char in text)


def augment(clips: Tensor, config: FinetuneConfig, random: np.random.Generator) -> Tensor:
    """Change each clip at random.

    Args:
        clips: float (B, 3, T, H, W) in [0, 1].
        config: how much.
        random: source of all that is drawn; the same state gives the same clips.
    Returns:
        Clips of the same shape and range.
    """
    count = len(clips)
    mirrored = random.random(count) < 0.5
    sign = np.where(mirrored & config.flip, -1.0, 1.0)
    limit = config.crop_jitter
    scale, shifts = 1 + random.uniform(-limit, limit, count), random.uniform(-limit, limit, (count, 2))
    factors = 1 + random.uniform(-config.colour, config.colour, (count, 3))
    if limit:
        clips = _warped(clips, sign, scale, shifts)
    elif config.flip:
        flags = torch.from_numpy(sign < 0).to(clips.device)
        clips = torch.where(flags[:, None, None, None, None], clips.flip(-1), clips)
    return _recoloured(clips, factors) if config.colour else clips


def _warped(
    clips: Tensor,
    sign: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    scale: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    shifts: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> Tensor:
    theta = np.zeros((len(clips), 2, 3), dtype=np.float32)
    theta[:, 0, 0], theta[:, 1, 1], theta[:, :, 2] = sign * scale, scale, 2 * shifts
    planes = clips.flatten(1, 2)
    grid = F.affine_grid(torch.from_numpy(theta).to(clips.device), list(planes.shape), align_corners=False)
    warped = F.grid_sample(planes, grid.to(planes.dtype), padding_mode="border", align_corners=False)
    return warped.reshape(clips.shape)


def _recoloured(clips: Tensor, factors: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
    brightness, contrast, saturation = torch.from_numpy(factors).to(clips)[:, :, None, None, None, None].unbind(1)
    out = clips * brightness
    out = (out - (mean := out.mean(dim=(1, 2, 3, 4), keepdim=True))) * contrast + mean
    luma = (out * clips.new_tensor(_LUMA)[None, :, None, None, None]).sum(dim=1, keepdim=True)
    return ((out - luma) * saturation + luma).clamp(0, 1)


def mix(clips: Tensor, wanted: Wanted, alpha: float, random: np.random.Generator) -> tuple[Tensor, Wanted]:
    """Blend each clip with another one of the batch (mixup, arXiv 1710.09412).

    Args:
        clips: float (B, ...).
        wanted: their labels.
        alpha: of the beta distribution of the shares.
        random: source of what is drawn.
    """
    share = torch.from_numpy(random.beta(alpha, alpha, len(clips))).to(clips)
    order = torch.from_numpy(random.permutation(len(clips))).to(clips.device)
    own = share.reshape(-1, *[1] * (clips.ndim - 1))
    return own * clips + (1 - own) * clips[order], wanted.mixed(order, share.float())
