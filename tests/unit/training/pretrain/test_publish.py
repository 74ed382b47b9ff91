"""The Hub-ready folder of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.making import TINY

from marlin_sdk import Marlin
from marlin_sdk.errors import WeightsError
from marlin_sdk.training.pretrain.config import PretrainConfig
from marlin_sdk.training.pretrain.learner import build_networks
from marlin_sdk.training.pretrain.publish import Card, export_model, licence_of, model_card

CONFIG = PretrainConfig(model=TINY, batch_size=4)
CARD = Card(name="lab/faces", data="12 faces of 3 people.", step=7, metrics={"val/reconstruction": 0.0123})


def test_folder_can_be_loaded_by_from_pretrained(tmp_path: Path) -> None:
    network, _ = build_networks(CONFIG)
    export_model(tmp_path, network.state_dict(), CONFIG, CARD)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "config.json",
        "model.safetensors",
    ]
    model = Marlin.from_pretrained(tmp_path, decoder=True, device="cpu")
    assert model.config == TINY
    clips = torch.rand(1, *TINY.clip_shape)
    with torch.no_grad():
        assert torch.equal(model.extract_clip(clips), network.encoder(clips))


def test_files_of_a_model_have_default_permissions(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    export_model(tmp_path / "run", build_networks(CONFIG)[0].state_dict(), CONFIG, CARD)
    assert {file.stat().st_mode for file in (tmp_path / "run").iterdir()} == {other.stat().st_mode}


def test_config_of_an_encoder_alone_has_no_decoder(tmp_path: Path) -> None:
    network, _ = build_networks(CONFIG)
    export_model(tmp_path, network.state_dict(), CONFIG, CARD, decoder=False)
    assert "decoder_depth" not in json.loads((tmp_path / "config.json").read_text())
    with pytest.raises(WeightsError, match="no decoder"):
        Marlin.from_pretrained(tmp_path, decoder=True, device="cpu")


def test_card_holds_licence_data_training_and_metrics(tmp_path: Path) -> None:
    network, _ = build_networks(CONFIG)
    export_model(tmp_path, network.state_dict(), CONFIG, CARD)
    card = (tmp_path / "README.md").read_text()
    assert card.startswith("---\nlicense: other\nlibrary_name: marlin-sdk\n")
    for part in (
        "# lab/faces",
        "12 faces of 3 people.",
        "| val/reconstruction | 0.0123 | this model, over all that is masked |",
        "7 steps of 4 clips",
        "0.01 times",
    ):
        assert part in card


def test_card_says_which_baselines_the_model_beats() -> None:
    metrics = {"val/reconstruction": 0.2, "val/mean_face": 0.3, "val/still_face": 0.1, "val/other": 4.0}
    moving = {"val/reconstruction_moving": 0.5, "val/mean_face_moving": 0.5, "val/still_face_moving": 0.6}
    card = model_card(CONFIG, replace(CARD, metrics={**metrics, **moving})).text()
    assert (
        "| val/other | 4 |  |\n"
        "| val/reconstruction_moving | 0.5 | this model, over the moving parts alone |\n"
        "| val/mean_face_moving | 0.5 | the mean face of the training clips, over the moving parts alone |\n"
        "| val/still_face_moving | 0.6 | a still face, made of what is visible of the clip, over the moving parts "
        "alone |\n\n"
        "Over all that is masked of the held-out clips it beats the mean face of the training clips, and does NOT beat "
        "a still face, made of what is visible of the clip.\n"
        "Over the moving parts alone of the held-out clips it does NOT beat the mean face of the training clips, and "
        "beats a still face, made of what is visible of the clip.\n"
        "\n"
        "A reconstruction loss"
    ) in card


@pytest.mark.parametrize("metrics", [{}, {"val/reconstruction": 0.2}, {"val/mean_face": 0.2}])
def test_card_without_baselines_claims_nothing(metrics: dict[str, float]) -> None:
    card = model_card(CONFIG, replace(CARD, metrics=metrics)).text()
    assert "beat" not in card
    assert "\n\nA reconstruction loss compares" in card


@pytest.mark.parametrize(
    ("init", "licence", "expected"),
    [
        (None, None, "other"),
        (None, "mit", "mit"),
        ("marlin_vit_small_ytf", "mit", "cc-by-nc-4.0"),
        ("ControlNet/marlin_vit_base_ytf", None, "cc-by-nc-4.0"),
        ("MCG-NJU/videomae-base", "mit", "cc-by-nc-4.0"),
        ("weights.pth (VideoMAE)", None, "cc-by-nc-4.0"),
        ("downloads/marlin_vit_small_ytf.full.pt (MARLIN)", "mit", "cc-by-nc-4.0"),
        ("runs/other (MARLIN)", "mit", "mit"),
    ],
)
def test_weights_from_published_ones_keep_their_licence(init: str | None, licence: str | None, expected: str) -> None:
    assert licence_of(init, licence) == expected
