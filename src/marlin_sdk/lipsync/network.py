"""The network that makes lips: a MARLIN encoder on the face, an encoder of the sound, a decoder of pictures."""

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
from marlin_sdk.sync.mel import STEPS_PER_S
from marlin_sdk.sync.network import FPS, SoundEncoder, sample_steps

__all__ = ["LipsConfig", "LipsNetwork", "first_made_row", "frame_places"]

_GIVEN_CHANNELS = 6  # the upper half of the face, and the reference
_LEAST_WIDTH = 16
_KEPT_AT_FIRST = 2.0  # a logit: 0.88
_GROUPS = 8  # of GroupNorm; widths are multiples


@dataclass(frozen=True, kw_only=True)
class LipsConfig:
    """The size of a `LipsNetwork`.

    Attributes:
        model: the size of the MARLIN encoder.
        size_px: side of the faces that are made: the encoder's grid (14 for the published models), doubled n times.
        width: channels after the first doubling; each further doubling halves them, down to 16.
        sound_channels: of the sound's encoder.
        sound_depth: its convolutions, after the first.

    Raises:
        ConfigError: a value that cannot be used.
    """

    model: ModelConfig
    size_px: int = 224
    width: int = 512
    sound_channels: int = 128
    sound_depth: int = 3

    def __post_init__(self) -> None:
        for name, least, step in (("width", 16, 16), ("sound_channels", 1, 1), ("sound_depth", 1, 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 4096 or value % step:
                raise ConfigError(f"{name} is {value!r}; expected a multiple of {step}, {least} to 4096")
        model = self.model
        if model.has_decoder:
            raise ConfigError("the model of a lip network has no decoder; use its without_decoder()")
        if model.encoder_embed_dim % model.tubelet_size:
            raise ConfigError(
                f"a token of {model.encoder_embed_dim} values cannot be divided among the {model.tubelet_size} frames "
                "that it is of"
            )
        possible = [self.grid << step for step in range(1, 8)]
        if self.size_px not in possible:
            raise ConfigError(
                f"size_px is {self.size_px!r}; with this encoder, faces of {', '.join(map(str, possible))} pixels can "
                "be made"
            )

    @property
    def grid(self) -> int:
        """Rows, and columns, of the encoder's tokens."""
        return self.model.grid[1]

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels after each doubling."""
        doublings = (self.size_px // self.grid).bit_length() - 1
        return tuple(max(self.width >> step, _LEAST_WIDTH) // _GROUPS * _GROUPS for step in range(doublings))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LipsConfig:
        """Parse the output of `to_dict`.

        Raises:
            ConfigError: an unknown or missing key, or an invalid value.
        """
        if set(values) != {field.name for field in fields(cls)} or not isinstance(values["model"], Mapping):
            raise ConfigError(f"the size of a lip network has the keys {sorted(values)}")
        return cls(**{**values, "model": ModelConfig.from_dict(values["model"])})

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "model": self.model.to_dict()}


class LipsNetwork(nn.Module):
    """Makes the lower halves of faces from their upper halves, a reference, and sound.

    MARLIN's layout (arXiv 2211.06627, as its authors describe it): Wav2Lip (arXiv 2008.10010) with the face encoder
    replaced. Each token of the encoder is divided among its two frames, (B, 1568, 768) to (16 B, 384, 14, 14); the
    sound of a frame, 384 values, is spread over the same grid; with the given picture, 6 channels, these are 774, from
    which the decoder makes 224 x 224 pixels. At each doubling the given picture, at that size, is inserted again, in
    place of Wav2Lip's skip connections.

    Unlike there, the last step also says for each pixel how much of the reference is kept, so that a network begins
    with a face, and not with noise.

    The given picture is the face without its lower half, beside the reference. The encoder sees both in one clip: the
    upper half of the face, which has the pose, above the lower half of the reference, which has the identity.

    Args:
        encoder: of faces.
        config: of the same model.
    """

    def __init__(self, encoder: Encoder, config: LipsConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        share = config.model.encoder_embed_dim // config.model.tubelet_size
        self.sound = SoundEncoder(config.sound_channels, config.sound_depth, share)
        inputs = 2 * share + _GIVEN_CHANNELS
        steps = []
        for width in config.widths:
            steps.append(_Doubling(inputs, width))
            inputs = width + _GIVEN_CHANNELS
        self.steps = nn.ModuleList(steps)
        self.paint = nn.Conv2d(inputs, 4, 3, padding=1)  # the last: how much of the reference is kept
        with torch.no_grad():
            self.paint.bias[3] = _KEPT_AT_FIRST  # type: ignore[index]

    def forward(self, faces: Tensor, references: Tensor, log_mel: Tensor, places: Tensor) -> Tensor:
        """Make the lower halves of some windows of several videos.

        Args:
            faces: float (B, W, 3, 16, S, S) in [0, 1]; their lower halves are not looked at.
            references: of the same shape: the same people at other times.
            log_mel: float (B, T, 80), see `LogMel`.
            places: float (B, W, 16), steps of `log_mel`, see `frame_places`.
        Returns:
            The faces with new lower halves.
        """
        first = first_made_row(self.config.size_px)
        flat, reference = faces.flatten(0, 1), references.flatten(0, 1)
        hidden = torch.cat([flat[..., :first, :], torch.zeros_like(flat[..., first:, :])], dim=-2)
        given = _by_frame(torch.cat([hidden, reference], dim=1))
        seen = torch.cat([flat[..., :first, :], reference[..., first:, :]], dim=-2)
        sound = sample_steps(self.sound(log_mel), places).flatten(0, 2)
        x = self._tokens(seen)
        spread = sound[:, :, None, None].expand(-1, -1, *x.shape[-2:])
        x = torch.cat([x, spread, _resized(given, self.config.grid)], dim=1)
        for step in self.steps:
            x = step(x, given)
        painted, kept = torch.sigmoid(self.paint(x)).tensor_split([3], dim=1)
        mixed = torch.lerp(painted, given[:, 3:].to(painted.dtype), kept)
        made = _by_clip(mixed, len(flat))
        whole = torch.cat([flat[..., :first, :], made[..., first:, :].to(flat.dtype)], dim=-2)
        return whole.reshape(faces.shape)

    def _tokens(self, clips: Tensor) -> Tensor:
        """Clips (N, 3, 16, S, S) to what the encoder says of each frame, (16 N, D / 2, 14, 14)."""
        model = self.config.model
        small = _by_clip(_resized(_by_frame(clips), model.img_size), len(clips))
        tokens: Tensor = self.encoder(small, pool="none")
        times, rows, columns = model.grid
        by_frame = tokens.reshape(len(clips), times, rows, columns, model.tubelet_size, -1)
        return by_frame.permute(0, 1, 4, 5, 2, 3).flatten(0, 2)


class _Doubling(nn.Module):
    """Twice the size, and the given picture once more."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, width, 4, stride=2, padding=1)
        self.norm = nn.GroupNorm(_GROUPS, width)

    def forward(self, x: Tensor, given: Tensor) -> Tensor:
        x = F.gelu(self.norm(self.up(x)))
        return torch.cat([x, _resized(given, x.shape[-1])], dim=1)


def first_made_row(size_px: int) -> int:
    """The first row of the half of a face that is made."""
    return size_px // 2


def frame_places(start_s: Tensor, sound_start_s: Tensor | float, num_frames: int) -> Tensor:
    """Where the sound of each frame of a window lies: the step of a log-mel spectrogram at the middle of the frame.

    Args:
        start_s: float (...), times of the windows' first frames.
        sound_start_s: time of the spectrogram's first step.
        num_frames: of a window.
    Returns:
        (..., num_frames), not whole.
    """
    middles_s = (torch.arange(num_frames, device=start_s.device) + 0.5) / FPS
    return (start_s[..., None] + middles_s - sound_start_s) * STEPS_PER_S


def _by_frame(clips: Tensor) -> Tensor:
    """(N, C, T, S, S) to (N T, C, S, S)."""
    return clips.transpose(1, 2).flatten(0, 1)


def _by_clip(frames: Tensor, clips: int) -> Tensor:
    """(N T, C, S, S) to (N, C, T, S, S)."""
    return frames.reshape(clips, -1, *frames.shape[1:]).transpose(1, 2)


def _resized(pictures: Tensor, size_px: int) -> Tensor:
    """Pictures (N, C, S, S) at another size; averages where they become smaller."""
    if pictures.shape[-1] == size_px:
        return pictures
    if pictures.shape[-1] > size_px:
        return F.interpolate(pictures, size=(size_px, size_px), mode="area")
    return F.interpolate(pictures, size=(size_px, size_px), mode="bilinear", align_corners=False)
