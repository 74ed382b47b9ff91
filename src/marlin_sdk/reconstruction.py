"""Reconstruction of masked clips by a masked autoencoder, and images of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marlin_sdk.config import ModelConfig
from marlin_sdk.errors import ConfigError, ShapeError
from marlin_sdk.model import Decoder, Encoder
from marlin_sdk.model.masks import check_mask, pick
from marlin_sdk.model.tubelets import from_tubelets, to_tubelets
from marlin_sdk.runtime.inputs import to_frames

__all__ = ["PANELS", "Reconstruction", "contact_sheet", "heading", "panels", "reconstruct", "save_png"]

PANELS = ("original", "masked", "rebuilt", "error")
"""The panels of an image, from left to right."""

PLACEHOLDER = 0.5  # grey, where a tubelet is masked, or not reconstructed
_GAP_PX = 4
_ERROR_SCALE = 0.05  # the mean squared error at the top of the colour map: a fifth of the value range, everywhere


@dataclass(frozen=True)
class Reconstruction:
    """A clip, its mask, and the model's reconstruction of the masked tubelets.

    Every shape has a leading batch dimension if the clip had one.

    Attributes:
        mask: bool (1568,), True where VISIBLE, in (t, h, w) order.
        original: float32 (3, 16, 224, 224), RGB, range [0, 1].
        masked: the visible tubelets; grey where masked.
        reconstructed: the reconstructed tubelets, clipped to [0, 1]; grey where visible, which the decoder omits.
        composite: visible and reconstructed tubelets together.
        error: float32 (1568,), mean squared error of each reconstructed tubelet (not clipped); NaN where visible.
    """

    mask: Tensor
    original: Tensor
    masked: Tensor
    reconstructed: Tensor
    composite: Tensor
    error: Tensor

    def __getitem__(self, index: int) -> Reconstruction:
        """One clip of a batch.

        Raises:
            ShapeError: there is no batch dimension.
            IndexError: there is no such clip.
        """
        if self.mask.ndim != 2:
            raise ShapeError("this reconstruction is of one clip; it has no batch dimension to index")
        return Reconstruction(**{name: tensor[index] for name, tensor in vars(self).items()})

    @property
    def mean_error(self) -> float:
        """The mean squared error over all masked tubelets."""
        return float(self.error.nanmean())


@torch.no_grad()
def reconstruct(
    encoder: Encoder, decoder: Decoder, clips: Tensor, mask: Tensor, *, normalised_target: bool = False
) -> Reconstruction:
    """Mask tubelets, and reconstruct them with a model.

    Args:
        encoder: in evaluation mode.
        decoder: of the same model, on the same device.
        clips: float (B, 3, 16, 224, 224) in [0, 1], or uint8 (B, 16, 224, 224, 3); on any device.
        mask: bool (B, 1568), True where VISIBLE.
        normalised_target: the model was trained on normalised tubelets; its output is rescaled to the mean and standard
            deviation of the original ones, as in VideoMAE's visualisations.
    Returns:
        On the CPU, with a batch dimension.
    Raises:
        ShapeError: clips or mask do not fit the model.
    """
    weight = encoder.norm.weight
    pixels = clips.permute(0, 4, 1, 2, 3).float() / 255 if clips.dtype == torch.uint8 else clips.float()
    device_mask = mask.to(weight.device)
    visible = encoder.encode_visible(pixels.to(weight.device, weight.dtype), device_mask)
    predicted: Tensor = decoder(visible, device_mask).float().cpu()
    return compose(pixels.cpu(), mask.cpu(), predicted, encoder.config, normalised_target=normalised_target)


def compose(
    pixels: Tensor, mask: Tensor, predicted: Tensor, config: ModelConfig, *, normalised_target: bool = False
) -> Reconstruction:
    """Insert predicted tubelets into their clips.

    Args:
        pixels: float32 (B, 3, 16, 224, 224), range [0, 1].
        mask: bool (B, 1568), True where VISIBLE.
        predicted: float32 (B, masked, 1536), as returned by the decoder.
        config: the model's size.
        normalised_target: see `reconstruct`.
    """
    check_mask(mask, len(pixels), config.num_tokens)
    original = to_tubelets(pixels, config)
    target = pick(original, ~mask)
    if normalised_target:
        variance, mean = torch.var_mean(target.reshape(*target.shape[:2], 3, -1), dim=-1, keepdim=True)
        predicted = (predicted.reshape(*target.shape[:2], 3, -1) * variance.sqrt() + mean).flatten(-2)
    grey = torch.full_like(original, PLACEHOLDER)
    reconstructed, composite = grey.clone(), original.clone()
    error = torch.full(mask.shape, torch.nan)
    clipped = predicted.clamp(0, 1)
    reconstructed[~mask] = clipped.flatten(0, 1)
    composite[~mask] = clipped.flatten(0, 1)
    error[~mask] = (predicted - target).square().mean(dim=-1).flatten()
    masked = torch.where(mask[..., None], original, grey)
    return Reconstruction(
        mask=mask,
        original=from_tubelets(original, config),
        masked=from_tubelets(masked, config),
        reconstructed=from_tubelets(reconstructed, config),
        composite=from_tubelets(composite, config),
        error=error,
    )


def panels(result: Reconstruction, config: ModelConfig) -> NDArray[np.uint8]:
    """Original, masked and composite clip, and a heat map of the error, side by side.

    Args:
        result: of one clip.
        config: the model's size.
    Returns:
        uint8 (16, 224, 4 * 224 + gaps, 3), RGB. The heat map is black where visible, and goes from violet over orange
        to pale yellow at a mean squared error of 0.05 and above.
    Raises:
        ShapeError: `result` has a batch dimension.
    """
    if result.mask.ndim != 1:
        raise ShapeError("images show one clip; select one of the batch: result[0]")
    heatmap = _heatmap(result.error, config)
    shown = [to_frames(result.original), to_frames(result.masked), to_frames(result.composite), heatmap]
    gap = np.full((*heatmap.shape[:2], _GAP_PX, 3), 255, dtype=np.uint8)
    row = [part for panel in shown for part in (panel, gap)][:-1]
    return np.ascontiguousarray(np.concatenate(row, axis=2))


def heading(config: ModelConfig) -> NDArray[np.uint8]:
    """The names of the panels, to be placed above them.

    Args:
        config: the model's size.
    Returns:
        uint8 (28, 4 * 224 + gaps, 3), RGB: an eighth of the panels' height, an even number.
    """
    step_px = config.img_size + _GAP_PX
    return _strip({index * step_px + config.img_size // 2: name for index, name in enumerate(PANELS)}, config)


def _strip(texts: Mapping[int, str], config: ModelConfig) -> NDArray[np.uint8]:
    """A strip as wide as the panels, with texts centred at some columns."""
    import cv2

    size_px, font = config.img_size, cv2.FONT_HERSHEY_SIMPLEX
    strip = np.full((size_px // 16 * 2, len(PANELS) * (size_px + _GAP_PX) - _GAP_PX, 3), 255, dtype=np.uint8)
    scale = 0.6 * size_px / 224
    for centre, text in texts.items():
        (width, height), _ = cv2.getTextSize(text, font, scale, 1)
        left = max(0, centre - width // 2)
        cv2.putText(strip, text, (left, (len(strip) + height) // 2), font, scale, (40, 40, 40), 1, cv2.LINE_AA)
    return strip


def contact_sheet(
    results: Sequence[Reconstruction],
    config: ModelConfig,
    *,
    frames: Sequence[int] = (0, 7, 15),
    titles: Sequence[str] | None = None,
) -> NDArray[np.uint8]:
    """Selected frames of several clips, one below the other, each as in `panels`, with a heading.

    Args:
        results: of one clip each.
        config: the model's size.
        frames: indices in a clip; those beyond its end are ignored.
        titles: a line above each clip.
    Returns:
        uint8 (H, W, 3), RGB.
    Raises:
        ConfigError: there are no frames to show.
    """
    parts: list[NDArray[np.uint8]] = []
    for index, result in enumerate(results):
        shown = panels(result, config)
        rows = [shown[frame] for frame in frames if frame < len(shown)]
        if titles is not None and rows:
            parts.append(_strip({shown.shape[2] // 2: titles[index]}, config))
        parts += rows
    if not parts:
        raise ConfigError("a contact sheet shows at least one frame of one clip")
    gap = np.full((_GAP_PX, parts[0].shape[1], 3), 255, dtype=np.uint8)
    return np.concatenate([heading(config), *[piece for part in parts for piece in (part, gap)][:-1]], axis=0)


def save_png(picture: NDArray[np.uint8], path: Path) -> None:
    """Write an RGB image, atomically.

    Raises:
        OSError: it cannot be written.
    """
    import cv2

    from marlin_sdk.atomic import atomic_path

    encoded, data = cv2.imencode(".png", picture[..., ::-1])
    if not encoded:
        raise OSError(f"OpenCV cannot encode an image of {picture.shape} as PNG")
    with atomic_path(path) as part:
        part.write_bytes(data.tobytes())


def _heatmap(error: Tensor, config: ModelConfig) -> NDArray[np.uint8]:
    import cv2

    time, height, width = config.grid
    relative = (error.nan_to_num(0) / _ERROR_SCALE).clamp(0, 1).reshape(time, height, width)
    levels = (relative * 255).round().to(torch.uint8).numpy()
    cells = levels.repeat(config.tubelet_size, 0).repeat(config.patch_size, 1).repeat(config.patch_size, 2)
    colours = [cv2.applyColorMap(frame, cv2.COLORMAP_INFERNO)[..., ::-1] for frame in cells]
    return np.ascontiguousarray(np.stack(colours), dtype=np.uint8)
