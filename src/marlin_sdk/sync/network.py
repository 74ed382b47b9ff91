"""The two branches: a MARLIN encoder on face windows, and a small encoder of their sound."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual alias

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError
from marlin_sdk.model import Encoder
from marlin_sdk.sync.mel import BANDS, STEPS_PER_S

__all__ = ["FPS", "SoundEncoder", "SyncConfig", "SyncNetwork", "distances", "sample_steps", "step_places"]

FPS = 25.0
"""Frames a second of the windows; other videos are resampled by time."""

_KERNEL = 5  # steps of the sound's convolutions: four of them see 17 steps, 0.21 s


@dataclass(frozen=True, kw_only=True)
class SyncConfig:
    """The size of a `SyncNetwork`.

    Attributes:
        model: the size of the MARLIN encoder.
        dim: values for each two frames of a window, of the face and of the sound.
        channels: of the sound's encoder.
        depth: its convolutions, after the first.
        looks: places of the face that are looked at in each two frames, each a learned average of its patches.

    Raises:
        ConfigError: a value below 1, or a model with a decoder.
    """

    model: ModelConfig
    dim: int = 32
    channels: int = 128
    depth: int = 3
    looks: int = 4

    def __post_init__(self) -> None:
        for name in ("dim", "channels", "depth", "looks"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 4096:
                raise ConfigError(f"{name} is {value!r}; expected an integer of 1 to 4096")
        if self.model.has_decoder:
            raise ConfigError("the model of a synchronisation network has no decoder; use its without_decoder()")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SyncConfig:
        """Parse the output of `to_dict`.

        Raises:
            ConfigError: an unknown or missing key, or an invalid value.
        """
        if set(values) != {field.name for field in fields(cls)} or not isinstance(values["model"], Mapping):
            raise ConfigError(f"the size of a synchronisation network has the keys {sorted(values)}")
        return cls(**{**values, "model": ModelConfig.from_dict(values["model"])})

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "model": self.model.to_dict()}


class SyncNetwork(nn.Module):
    """Embeds face windows and sound, so that those of one moment are near each other.

    A window of 16 frames has 8 time tokens. Of each, the head makes `dim` values, which are compared with the values of
    the sound at the same time; so the sound is embedded only once, for all shifts.

    Args:
        encoder: of faces.
        config: of the same model.
    """

    def __init__(self, encoder: Encoder, config: SyncConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.face = _FaceHead(config)
        self.sound = SoundEncoder(config.channels, config.depth, config.dim)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    def forward(self, clips: Tensor, log_mel: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Embed the windows of several videos, and their sound at several places.

        Args:
            clips: float (B, W, 3, 16, 224, 224) in [0, 1].
            log_mel: float (B, T, 80), see `LogMel`.
            places: float (B, ..., 8), steps of `log_mel`, see `step_places`.
        Returns:
            (B, W, 8, dim) of the faces, and (B, ..., 8, dim) of the sound.
        """
        faces = self.embed_faces(clips.flatten(0, 1)).reshape(*clips.shape[:2], -1, self.config.dim)
        return faces, sample_steps(self.embed_sound(log_mel), places)

    def embed_faces(self, clips: Tensor) -> Tensor:
        """Face windows, float (N, 3, 16, 224, 224) in [0, 1], to (N, 8, dim)."""
        out: Tensor = self.face(self.encoder(clips, pool="none"))
        return out

    def embed_sound(self, log_mel: Tensor) -> Tensor:
        """The log-mel spectrogram (B, T, 80) to (B, T, dim)."""
        out: Tensor = self.sound(log_mel)
        return out


class _FaceHead(nn.Module):
    """Time tokens of a window: of the patches of each two frames, learned averages."""

    def __init__(self, config: SyncConfig) -> None:
        super().__init__()
        self._times, rows, columns = config.model.grid
        dim = config.model.encoder_embed_dim
        self.norm = nn.LayerNorm(dim)
        self.places = nn.Parameter(torch.randn(config.looks, rows * columns))
        self.project = nn.Linear(config.looks * dim, config.dim)

    def forward(self, tokens: Tensor) -> Tensor:
        by_time = self.norm(tokens).unflatten(1, (self._times, -1))
        looks = torch.einsum("btpd,lp->btld", by_time, self.places.softmax(dim=1))
        out: Tensor = self.project(looks.flatten(2))
        return out


class SoundEncoder(nn.Module):
    """Convolutions over time; norms are of single steps, so that a sound's length changes nothing.

    Args:
        width: channels.
        depth: convolutions, after the first; with three, a step sees 17 steps, 0.21 s.
        dim: values of each step.
    """

    def __init__(self, width: int, depth: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(BANDS, width, _KERNEL, padding=_KERNEL // 2)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(depth))
        self.layers = nn.ModuleList(nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, dim)

    def forward(self, log_mel: Tensor) -> Tensor:
        """The log-mel spectrogram (B, T, 80) to (B, T, dim)."""
        x = self.first(log_mel.transpose(1, 2)).transpose(1, 2)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + layer(F.gelu(norm(x)).transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.project(F.gelu(self.norm(x)))
        return out


def step_places(start_s: Tensor, sound_start_s: Tensor | float, config: ModelConfig) -> Tensor:
    """Where the sound of a window lies: for the middle of each time token, the step of a log-mel spectrogram.

    Args:
        start_s: float (...), times of the windows' first frames.
        sound_start_s: time of the spectrogram's first step.
        config: of the encoder.
    Returns:
        (..., 8), not whole.
    """
    tubelet = config.tubelet_size
    middles_s = (torch.arange(config.n_frames // tubelet, device=start_s.device) + 0.5) * tubelet / FPS
    return (start_s[..., None] + middles_s - sound_start_s) * STEPS_PER_S


def sample_steps(sound: Tensor, places: Tensor) -> Tensor:
    """Interpolate embedded sound between its steps.

    Args:
        sound: (B, T, D).
        places: (B, ...), in steps; those outside are moved to the nearest end.
    Returns:
        (B, ..., D).
    """
    last = sound.shape[1] - 1
    flat = places.flatten(1).clamp(0, last)
    before = flat.floor().long().clamp_max(max(last - 1, 0))
    share = (flat - before).to(sound.dtype)[..., None]
    batch = torch.arange(len(sound), device=sound.device)[:, None]
    out = torch.lerp(sound[batch, before], sound[batch, (before + 1).clamp_max(last)], share)
    return out.reshape(*places.shape, -1)


def distances(faces: Tensor, sounds: Tensor) -> Tensor:
    """Euclidean distances of windows and sounds, each scaled to length 1: 0 to 2; unrelated ones are at 1.4.

    Args:
        faces: (..., 8, dim).
        sounds: (..., 8, dim), broadcast against the faces.
    """
    cosines = (F.normalize(faces.flatten(-2), dim=-1) * F.normalize(sounds.flatten(-2), dim=-1)).sum(-1)
    return (2 - 2 * cosines).clamp_min(0).sqrt()
