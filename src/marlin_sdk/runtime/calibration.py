"""Calibration clips, from which quantisation estimates the range of activations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - torch's own name for it

from marlin_sdk.config import ModelConfig

__all__ = ["CalibrationSet", "astronaut_clips", "built_in_calibration", "calibration_from"]

MAX_CLIPS = 32  # NNCF's statistics hardly change with more, and each costs two forward passes

# The face in scikit-image's astronaut, 512x512: centre and half the side of the square crop of a detector's box.
_FACE_CENTRE, _FACE_HALF = (224.0, 118.0), 62.0


@dataclass(frozen=True)
class CalibrationSet:
    """Calibration clips, made on demand, and their identity.

    Attributes:
        identity: name, number of clips and, of a user's own, the sha256 of the pixels.
        make: returns uint8 (N, T, H, W, 3).
    """

    identity: Mapping[str, Any]
    make: Callable[[], NDArray[np.uint8]]


def calibration_from(clips: NDArray[np.uint8], name: str) -> CalibrationSet:
    """A user's own clips; of more than 32, 32 evenly spaced ones.

    Args:
        clips: uint8 (N, T, H, W, 3), N at least 1.
        name: of the set.
    """
    indices = np.unique(np.linspace(0, len(clips) - 1, min(len(clips), MAX_CLIPS)).round().astype(int))
    selected = np.ascontiguousarray(clips[indices])
    digest = hashlib.sha256(selected.tobytes()).hexdigest()
    return CalibrationSet({"name": name, "clips": len(selected), "sha256": digest}, lambda: selected)


def built_in_calibration(config: ModelConfig) -> CalibrationSet:
    """Clips made from scikit-image's picture of an astronaut: needs neither download nor video."""
    return CalibrationSet({"name": "astronaut-1", "clips": 12}, lambda: astronaut_clips(config, 12))


def astronaut_clips(config: ModelConfig, num_clips: int, *, seed: int = 0) -> NDArray[np.uint8]:
    """Clips of a face that moves, zooms and rotates, with varied lighting and colours.

    Args:
        config: defines the size of a clip.
        num_clips: number of clips.
        seed: the same seed gives the same motion.
    Returns:
        uint8 (num_clips, T, H, W, 3).
    """
    from skimage.data import astronaut

    picture = torch.from_numpy(np.ascontiguousarray(astronaut())).permute(2, 0, 1).float()
    rng = np.random.default_rng(seed)
    return np.stack([_animate(picture, config, rng) for _ in range(num_clips)])


def _animate(picture: Tensor, config: ModelConfig, rng: np.random.Generator) -> NDArray[np.uint8]:
    steps = np.linspace(-1, 1, config.n_frames)
    phase, speed = rng.uniform(0, 2 * np.pi, 4), rng.uniform(0.5, 3, 4)
    sway = np.sin(phase[:, None] + speed[:, None] * steps) * rng.uniform(0.2, 1, (4, 1))
    zoom = rng.uniform(0.8, 1.3) * (1 + 0.1 * sway[0])
    angle = 0.25 * sway[1]
    mirrored = rng.choice([-1.0, 1.0])
    size = picture.shape[-1]
    half = zoom * _FACE_HALF / size * 2
    x, y = ((centre + 0.2 * _FACE_HALF * sway[2 + axis]) / size * 2 - 1 for axis, centre in enumerate(_FACE_CENTRE))
    rows = [
        [mirrored * half * np.cos(angle), -half * np.sin(angle), x],
        [mirrored * half * np.sin(angle), half * np.cos(angle), y],
    ]
    transforms = torch.tensor(np.array(rows), dtype=torch.float32).permute(2, 0, 1)
    shape = [config.n_frames, 3, config.img_size, config.img_size]
    grid = F.affine_grid(transforms, shape, align_corners=False)
    frames = F.grid_sample(picture.expand(config.n_frames, -1, -1, -1), grid, align_corners=False)
    return _augment(frames, rng).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def _augment(frames: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary colour, brightness and contrast, and add what is common in the wild but rare in a studio: faces that are
    blurred, dark, or at the edge of the frame, with its black border. An activation range that calibration does not
    cover is clipped later.
    """
    colour = torch.from_numpy(rng.uniform(0.75, 1.1, (1, 3, 1, 1))).float()
    grey = frames.mean(dim=1, keepdim=True)
    frames = torch.lerp(grey, frames, float(rng.uniform(0.2, 1.2))) * colour
    frames = 128 + (frames - 128) * float(rng.uniform(0.5, 1.1)) + float(rng.uniform(-50, 20))
    if rng.random() < 0.5:
        small = F.interpolate(frames, scale_factor=float(rng.uniform(0.3, 0.8)), mode="area")
        frames = F.interpolate(small, size=frames.shape[-2:], mode="bilinear", align_corners=False)
    if rng.random() < 0.4:
        frames = frames.clamp(0, 255) * float(rng.uniform(0.05, 0.4))
    if rng.random() < 0.4:
        side = int(rng.integers(4))
        frames = frames.rot90(side, (-2, -1)).clone()
        frames[..., : int(frames.shape[-1] * rng.uniform(0.1, 0.5))] = 0
        frames = frames.rot90(-side, (-2, -1))
    return frames
