"""Reconstruction of masked clips, and images of it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tests.making import TINY

from marlin_sdk import Marlin
from marlin_sdk.config import PRESETS
from marlin_sdk.errors import ConfigError, ShapeError, WeightsError
from marlin_sdk.model.tubelets import to_tubelets
from marlin_sdk.reconstruction import compose, contact_sheet, heading, panels, save_png

CLIP = torch.rand(3, 16, 32, 32, generator=torch.Generator().manual_seed(0))


def test_result_contains_visible_and_reconstructed_tubelets(tiny: Marlin) -> None:
    result = tiny.reconstruct(CLIP, masking="random", ratio=0.75, seed=3)
    assert result.mask.sum() == 8
    assert torch.equal(result.original, CLIP)
    true, masked, rebuilt, composite = (
        to_tubelets(clip[None], TINY)[0]
        for clip in (result.original, result.masked, result.reconstructed, result.composite)
    )
    seen, hidden = result.mask, ~result.mask
    assert torch.equal(masked[seen], true[seen])
    assert (masked[hidden] == 0.5).all()
    assert (rebuilt[seen] == 0.5).all()
    assert torch.equal(composite[seen], true[seen])
    assert torch.equal(composite[hidden], rebuilt[hidden])
    assert tiny.decoder is not None
    with torch.no_grad():
        visible = tiny.encoder.encode_visible(CLIP[None], result.mask[None])
        predicted = tiny.decoder(visible, result.mask[None])[0]
    assert torch.allclose(rebuilt[hidden], predicted.clamp(0, 1), atol=1e-6)
    assert torch.allclose(result.error[hidden], (predicted - true[hidden]).square().mean(1), atol=1e-6)
    assert result.error[seen].isnan().all()
    assert result.mean_error == pytest.approx(float(result.error[hidden].mean()))


def test_same_seed_masks_the_same_and_another_masks_other_tokens(tiny: Marlin) -> None:
    masks = [tiny.reconstruct(CLIP, masking="random", seed=seed).mask for seed in (1, 1, 2)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_batch_gives_the_same_as_single_clips(tiny: Marlin) -> None:
    both = tiny.reconstruct(torch.stack([CLIP, 1 - CLIP]), masking="tube", seed=5)
    assert both.mask.shape == (2, 32)
    alone = tiny.reconstruct(1 - CLIP, masking="tube", seed=6)
    assert torch.equal(both[1].mask, alone.mask)
    assert torch.allclose(both[1].composite, alone.composite, atol=1e-6)
    with pytest.raises(ShapeError, match="no batch dimension"):
        _ = alone[0]


def test_uint8_clip_is_the_same_clip(tiny: Marlin) -> None:
    pixels = (CLIP * 255).round().to(torch.uint8)
    by_bytes = tiny.reconstruct(pixels.permute(1, 2, 3, 0))
    by_floats = tiny.reconstruct(pixels.float() / 255)
    assert torch.equal(by_bytes.mask, by_floats.mask)
    assert torch.allclose(by_bytes.composite, by_floats.composite, atol=1e-6)


def test_face_is_masked_first_by_default(tiny: Marlin) -> None:
    """With average face proportions the corners of a crop are background."""
    model = Marlin.untrained(
        type(TINY)(**{**TINY.to_dict(), "img_size": 224}), device="cpu", detector="lbp", decoder=True
    )
    clip = np.zeros((16, 224, 224, 3), dtype=np.uint8)
    seen = model.reconstruct(clip).mask.reshape(8, 14, 14)
    assert seen.sum() == 156
    assert not seen[:, 4:12, 5:9].any()
    turned = model.reconstruct(clip, masking="fasking_opp").mask.reshape(8, 14, 14)
    assert turned[:, 3:12, 3:11].sum() > 100


def test_model_without_decoder_says_what_to_load() -> None:
    model = Marlin.untrained(TINY.without_decoder(), device="cpu")
    with pytest.raises(WeightsError, match=r"without its decoder.*decoder=True"):
        model.reconstruct(CLIP)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.1, 0.999, float("nan")])
def test_ratio_that_masks_nothing_or_everything_is_refused(tiny: Marlin, ratio: float) -> None:
    with pytest.raises(ConfigError, match="ratio"):
        tiny.reconstruct(CLIP, masking="random", ratio=ratio)


def test_unknown_masking_is_refused(tiny: Marlin) -> None:
    with pytest.raises(ConfigError, match="unknown masking 'cube'; expected one of fasking"):
        tiny.reconstruct(CLIP, masking="cube")


def test_normalised_prediction_is_rescaled_to_the_original_mean_and_deviation() -> None:
    pixels = CLIP[None]
    mask = torch.arange(32)[None] < 3
    channels = to_tubelets(pixels, TINY)[~mask].reshape(1, 29, 3, -1)
    variance, mean = torch.var_mean(channels, dim=-1, keepdim=True)
    perfect = ((channels - mean) / variance.sqrt()).flatten(-2)
    result = compose(pixels, mask, perfect, TINY, normalised_target=True)
    assert torch.allclose(result.composite, pixels, atol=1e-5)
    assert result.mean_error < 1e-9


def test_panels_are_side_by_side_and_heat_map_is_black_where_visible() -> None:
    mask = torch.arange(32)[None] < 4  # the whole first time step
    result = compose(CLIP[None], mask, torch.zeros(1, 28, 1536), TINY)[0]
    picture = panels(result, TINY)
    assert picture.shape == (16, 32, 4 * 32 + 3 * 4, 3)
    original, heat = picture[:, :, :32], picture[:, :, -32:]
    assert np.array_equal(original, (CLIP.permute(1, 2, 3, 0) * 255).round().to(torch.uint8).numpy())
    assert np.array_equal(picture[0, :, 36:68], original[0])
    assert (picture[2, :, 36:68] == 128).all()
    assert heat[0].max() <= 5
    assert heat[2].min() > 100  # an error of a third is off the scale: pale yellow


def test_contact_sheet_has_a_row_for_each_frame(tmp_path: Path) -> None:
    mask = torch.arange(32)[None] < 4
    result = compose(CLIP[None], mask, torch.zeros(1, 28, 1536), TINY)[0]
    sheet = contact_sheet([result, result], TINY, frames=(0, 15, 99))
    assert sheet.shape == (4 + 4 * 32 + 3 * 4, 140, 3)
    assert np.array_equal(sheet[:4], heading(TINY))
    save_png(sheet, tmp_path / "deep" / "sheet.png")
    read = cv2.imread(str(tmp_path / "deep" / "sheet.png"))
    assert read is not None
    assert np.array_equal(read[..., ::-1], sheet)
    with pytest.raises(ConfigError, match="at least one frame"):
        contact_sheet([], TINY)


def test_titles_stand_above_their_clips() -> None:
    config = PRESETS["marlin_vit_small_ytf"]
    clip = torch.zeros(1, *config.clip_shape)
    mask = torch.arange(config.num_tokens)[None] < 4
    result = compose(clip, mask, torch.zeros(1, config.num_tokens - 4, config.patch_dim), config)[0]
    sheet = contact_sheet([result, result], config, frames=(0, 7), titles=["window 1: 0.00 to 1.24 s", "window 2"])
    assert sheet.shape == (28 + 2 * 28 + 4 * 224 + 5 * 4, 908, 3)
    first, second = sheet[28:56], sheet[28 + 28 + 2 * 228 + 4 :][:28]
    assert first.min() < 100 > second.min()
    assert (first < 100).sum() > (second < 100).sum() > 0


def test_heading_has_a_name_in_the_middle_of_each_panel() -> None:
    strip = heading(PRESETS["marlin_vit_small_ytf"])
    assert strip.shape == (28, 908, 3)
    for left in range(0, 908, 228):
        columns = np.flatnonzero((strip[:, left : left + 224] < 128).any(axis=(0, 2)))
        assert abs((columns[0] + columns[-1]) / 2 - 112) < 4
        assert 30 < columns[-1] - columns[0] < 150


def test_image_of_a_batch_is_refused() -> None:
    mask = torch.arange(32)[None] < 4
    with pytest.raises(ShapeError, match="one clip"):
        panels(compose(CLIP[None], mask, torch.zeros(1, 28, 1536), TINY), TINY)
