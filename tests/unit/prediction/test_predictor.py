"""A head and the model that it was fitted on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.making import TINY, PaintedFace, painted, write_checkpoint
from tests.unit.prediction.heads import linear

from marlin_sdk import Marlin, Predictor
from marlin_sdk.batch.recipe import Recipe
from marlin_sdk.config import ExtractionConfig
from marlin_sdk.errors import ConfigError, FeatureFileError, NoFaceError
from marlin_sdk.evaluation.probe.head_file import FittedHeads, save_heads
from marlin_sdk.prediction.predictor import recipe_of

SETTINGS = ExtractionConfig(stride=8, sample_rate=1)
BOXES = {index: (20 + index % 3, 20, 60 + index % 3, 60) for index in range(40)}


def heads_for(recipe: Recipe, **changes: Any) -> FittedHeads:
    """Heads as a probe would have fitted them on a dump of this recipe."""
    identity = json.loads(json.dumps({**recipe.identity(recipe.load_model("cpu")), **changes}, default=str))
    heads = {"mood": linear(("no", "yes"), width=32), "a.valence": linear((), width=32)}
    return FittedHeads(dict(heads), "logistic", "mean", 32, "untrained:0", identity)


def untrained(**changes: Any) -> Recipe:
    return replace(Recipe(model=TINY, untrained=True, detector=PaintedFace(), settings=SETTINGS), **changes)


def test_predictions_are_those_of_the_features_of_the_same_settings() -> None:
    recipe = untrained()
    predictor = Predictor(heads_for(recipe), recipe, device="cpu")
    video = painted(40, BOXES)
    prediction = predictor.predict(video)
    features = predictor.model.extract(video, stride=8, sample_rate=1)
    np.testing.assert_array_equal(prediction.features.features, features.features)
    assert len(prediction.timeline) == len(features) > 2
    expected = predictor.heads.scores(features)["mood"].tolist()
    assert list(prediction.labels["mood"].scores.values()) == pytest.approx(expected)


def test_head_refuses_weights_that_were_changed_since(tmp_path: Path) -> None:
    recipe = untrained()
    predictor = Predictor(heads_for(recipe), recipe, device="cpu")
    predictor.predict(painted(40, BOXES))
    predictor.model.encoder.norm.weight.data.mul_(2)
    with pytest.raises(ConfigError, match=r"features of the weights sha256:.*fitted on those of untrained:0; use the"):
        predictor.predict(painted(40, BOXES))
    predictor.model.save_pretrained(tmp_path / "tuned")
    with pytest.raises(ConfigError, match="fitted on other features than this model gives"):
        Predictor(heads_for(recipe), replace(recipe, model=str(tmp_path / "tuned"), untrained=False), device="cpu")


def test_windows_are_scored_although_the_dump_was_reduced() -> None:
    recipe = untrained(settings=replace(SETTINGS, reduction="max"))
    predictor = Predictor(heads_for(recipe), recipe, device="cpu")
    video = painted(40, BOXES)
    prediction = predictor.predict(video)
    assert len(prediction.timeline) > 2
    reduced = predictor.model.extract(video, stride=8, sample_rate=1, reduction="max")
    expected = predictor.heads.scores(reduced)["mood"].tolist()
    assert list(prediction.labels["mood"].scores.values()) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": replace(SETTINGS, stride=16)}, "settings.stride: 8 there, 16 here"),
        ({"settings": replace(SETTINGS, pool="time")}, "settings.pool: None there, 'time' here"),
        ({"settings": replace(SETTINGS, smooth=False, fps=None)}, "settings.smooth: True there, False here"),
        ({"detector": "lbp"}, "detector.name: 'painted' there, 'lbp' here"),
        ({"dtype": "bfloat16"}, "dtype: 'float32' there, 'bfloat16' here"),
        ({"model": replace(TINY, encoder_depth=1)}, "weights.config.encoder_depth: 2 there, 1 here"),
    ],
)
def test_head_of_other_features_is_refused_with_the_differences(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="fitted on other features than this model gives") as caught:
        Predictor(heads_for(untrained()), untrained(**changes), device="cpu")
    assert message in str(caught.value)


def test_what_leaves_the_features_as_they_are_is_no_difference() -> None:
    heads = heads_for(untrained(), recogniser={"name": "sface", "sha256": "0"})
    Predictor(heads, untrained(settings=replace(SETTINGS, batch_size=2)), device="cpu")


def test_head_names_its_model_detector_and_settings(tmp_path: Path) -> None:
    recipe = untrained(detector="lbp")
    save_heads(tmp_path, heads_for(recipe))
    predictor = Predictor.from_head(tmp_path, device="cpu")
    assert predictor.settings == SETTINGS
    assert predictor.model.is_untrained
    assert predictor.model.config == TINY.without_decoder()
    assert predictor.model.detector.name == "lbp"


def test_head_of_local_weights_needs_to_be_told_where_they_are(tmp_path: Path) -> None:
    folders = [
        write_checkpoint(tmp_path / f"model{seed}", Marlin.untrained(TINY, device="cpu", seed=seed)) for seed in (0, 1)
    ]
    (tmp_path / "head").mkdir()
    save_heads(tmp_path / "head", heads_for(Recipe(model=str(folders[0]), detector="lbp")))
    with pytest.raises(ConfigError, match="knows only the sha256"):
        Predictor.from_head(tmp_path / "head", device="cpu")
    with pytest.raises(ConfigError, match=r"weights\.weights_sha256: '[0-9a-f]+' there, '[0-9a-f]+' here"):
        Predictor.from_head(tmp_path / "head", model=str(folders[1]), device="cpu")
    moved = folders[0].rename(tmp_path / "moved")
    assert Predictor.from_head(tmp_path / "head", model=str(moved), device="cpu").model.embedding_dim == 32


def test_labels_are_chosen_by_name_or_pattern(tmp_path: Path) -> None:
    save_heads(tmp_path, heads_for(untrained(detector="lbp")))
    assert list(Predictor.from_head(tmp_path, labels=["a.*"], device="cpu").heads.heads) == ["a.valence"]
    with pytest.raises(ConfigError, match=r"no label 'b\.\*'; it has mood, a\.valence"):
        Predictor.from_head(tmp_path, labels=["mood", "b.*"], device="cpu")


def test_published_weights_are_those_of_the_commit() -> None:
    heads = heads_for(untrained(detector="lbp"), weights={"model": "lab/mine", "commit": "c" * 40, "untrained": False})
    recipe = recipe_of(heads, local_files_only=True)
    assert (recipe.model, recipe.revision, recipe.untrained, recipe.local_files_only) == (
        "lab/mine", "c" * 40, False, True
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"detector": {"name": "painted", "sha256": []}}, ConfigError, "a detector of your own, 'painted'"),
        ({"settings": {"zoom": 2}}, ConfigError, "settings that this version does not know: zoom"),
        ({"settings": {"stride": -1}}, ConfigError, "stride is -1"),
        ({"settings": [1]}, FeatureFileError, "malformed"),
        ({"weights": None}, FeatureFileError, "malformed"),
        ({"weights": {"untrained": True}}, FeatureFileError, "malformed"),
        ({"runtime": 3}, FeatureFileError, "malformed"),
        ({"runtime": {"name": "os"}}, ConfigError, "os"),
        ({"dtype": "int3"}, ConfigError, "int3"),
    ],
)
def test_head_with_odd_settings_is_refused(
    changes: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    save_heads(tmp_path, heads_for(untrained(detector="lbp"), **changes))
    with pytest.raises(error, match=message):
        Predictor.from_head(tmp_path, device="cpu")


def test_head_of_a_dump_without_settings_is_refused(tmp_path: Path) -> None:
    save_heads(tmp_path, replace(heads_for(untrained(detector="lbp")), identity={}))
    with pytest.raises(ConfigError, match=r"its dump had no settings\.json"):
        Predictor.from_head(tmp_path, device="cpu")


def test_video_without_a_face_and_one_that_is_too_short_are_errors() -> None:
    predictor = Predictor(heads_for(untrained()), untrained(), device="cpu")
    with pytest.raises(NoFaceError):
        predictor.predict(painted(40, {}))
    recipe = untrained(settings=replace(SETTINGS, tail="drop"))
    with pytest.raises(ConfigError, match="no windows"):
        Predictor(heads_for(recipe), recipe, device="cpu").predict(painted(40, BOXES)[:10])
