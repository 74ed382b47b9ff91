"""The losses of made lips: their pixels, whether they are in time, and a critic of pictures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.lipsync.network import first_made_row
from marlin_sdk.sync.network import SyncNetwork, sample_steps

__all__ = ["PictureCritic", "critic_loss", "fooling_loss", "judged_faces", "made_halves", "pixel_loss", "sync_loss"]

_CRITIC_WIDTHS = (16, 32, 64)
_SLOPE = 0.2
_LEAST_SHARE = 1e-4


def made_halves(faces: Tensor) -> Tensor:
    """The half of each frame that is made: (B, W, 3, 16, S, S) to (16 B W, 3, S / 2, S)."""
    lower = faces[..., first_made_row(faces.shape[-1]) :, :]
    return lower.flatten(0, 1).transpose(1, 2).flatten(0, 1)


def pixel_loss(made: Tensor, true: Tensor) -> Tensor:
    """The mean absolute error of the halves that are made."""
    return F.l1_loss(made_halves(made), made_halves(true))


def sync_loss(judge: SyncNetwork, made: Tensor, log_mel: Tensor, places: Tensor, heard: Tensor) -> Tensor:
    """How far made faces are from their sound, as Wav2Lip measures it: cross entropy of the cosine of the two.

    Its expert's cosines are of 0 to 1; these are of -1 to 1, and moved there. Real lips have about 0.2, those of
    another sound 0.7. (The loss of the judge's own training, over all shifts, is much steeper: with it, a network
    learns to deceive the judge before it makes lips.)

    Args:
        judge: the synchronisation model; its weights do not change.
        made: (B, W, 3, 16, S, S).
        log_mel: (B, T, 80).
        places: (B, W, 8), see `step_places`.
        heard: bool (B, W), whether there is sound; other windows do not count.
    """
    faces = judged_faces(judge, made)
    with torch.no_grad():
        sounds = sample_steps(judge.embed_sound(log_mel), places)
    cosines = F.cosine_similarity(faces.flatten(-2), sounds.flatten(-2), dim=-1)
    losses = -((1 + cosines) / 2).clamp_min(_LEAST_SHARE).log()
    return losses.where(heard, 0).sum() / heard.sum().clamp_min(1)


def judged_faces(judge: SyncNetwork, faces: Tensor) -> Tensor:
    """What a synchronisation model sees in faces of any size, (B, W, 3, 16, S, S) to (B, W, 8, dim)."""
    side = judge.config.model.img_size
    frames = faces.flatten(0, 1).transpose(1, 2)
    flat = frames.flatten(0, 1)
    if flat.shape[-1] != side:
        mode = "area" if flat.shape[-1] > side else "bilinear"
        flat = F.interpolate(flat, size=(side, side), mode=mode)
    clips = flat.reshape(*frames.shape[:2], *flat.shape[1:]).transpose(1, 2)
    found = judge.embed_faces(clips)
    return found.reshape(*faces.shape[:2], *found.shape[1:])


class PictureCritic(nn.Module):
    """Scores patches of single pictures: higher means more likely real. Strided convolutions, as PatchGAN's."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width in _CRITIC_WIDTHS:
            layers += [nn.Conv2d(inputs, width, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE)]
            inputs = width
        self.layers = nn.Sequential(*layers, nn.Conv2d(inputs, 1, 3, padding=1))

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to (N, 1, H / 8, W / 8)."""
        out: Tensor = self.layers(pictures * 2 - 1)
        return out


def critic_loss(made_scores: Tensor, real_scores: Tensor) -> Tensor:
    """The critic's own loss: cross entropy of made and real."""
    return F.softplus(made_scores).mean() + F.softplus(-real_scores).mean()


def fooling_loss(made_scores: Tensor) -> Tensor:
    """The adversarial loss: cross entropy of made pictures taken for real ones."""
    return F.softplus(-made_scores).mean()
