"""A model and a head fitted on its features, joined; a head of other features is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from marlin_sdk.batch.recipe import LoadOnce, Recipe
from marlin_sdk.config import ExtractionConfig, ModelConfig
from marlin_sdk.dump.settings import differences
from marlin_sdk.errors import ConfigError, FeatureFileError
from marlin_sdk.evaluation.probe.head_file import FittedHeads, load_heads
from marlin_sdk.face.detectors import DETECTORS, FaceDetector
from marlin_sdk.marlin import Marlin
from marlin_sdk.prediction.result import VideoPrediction, score_video
from marlin_sdk.video.reader import VideoSource

__all__ = ["Predictor", "recipe_of"]

_NO_DIFFERENCE = ("recogniser",)  # it names persons, and leaves the features as they are


class Predictor:
    """A model and heads, for new videos. Make one of a probe's folder with `from_head`.

    Attributes:
        model: loaded.
        heads: by label.
        settings: of the extraction, those that the heads were fitted on.

    Args:
        heads: of a probe.
        recipe: model, detector and settings that give the features that the heads were fitted on.
        device: torch device of the model.
    Raises:
        ConfigError: the recipe gives other features than the heads were fitted on; the message lists the differences.
        MarlinError: as `Marlin.from_pretrained`.
    """

    def __init__(self, heads: FittedHeads, recipe: Recipe, *, device: str = "auto") -> None:
        loaded = recipe.load_model(device)
        _check_same(heads, recipe.identity(loaded))
        self.model: Marlin = loaded.with_detector(LoadOnce(lambda: loaded.detector))
        self.heads = heads
        self.settings = recipe.settings

    @classmethod
    def from_head(
        cls,
        folder: str | Path,
        *,
        labels: Sequence[str] = (),
        model: str | None = None,
        detector: str | Path | FaceDetector | None = None,
        calibration: Sequence[str] = (),
        device: str = "auto",
        cache_dir: str | None = None,
        local_files_only: bool = False,
    ) -> Predictor:
        """Load a head, and the model with the settings that it was fitted on.

        Args:
            folder: output of `marlin-sdk probe` or `marlin-sdk finetune`.
            labels: the labels to predict, or patterns of some ("appearance.*"); by default all of the head.
            model: as in `Marlin.from_pretrained`; by default the one in the folder, or else the one that the head
                names. A head fitted on local weights knows only their hash, and needs it.
            detector: the same.
            calibration: the videos of dtype="int8", if the head's dump was calibrated with your own.
            device: as in `Marlin.from_pretrained`.
            cache_dir: as in `Marlin.from_pretrained`.
            local_files_only: as in `Marlin.from_pretrained`.
        Raises:
            FeatureFileError: the folder holds no head, or one that is damaged.
            ConfigError: the model gives other features than the head was fitted on, or the head does not say what it
                was fitted on, or has no such label.
            MarlinError: as `Marlin.from_pretrained`.
        """
        heads = _chosen(load_heads(folder), labels)
        if model is None and (Path(folder) / "model.safetensors").is_file():  # fine-tuning leaves both in one folder
            model = str(folder)
        recipe = recipe_of(
            heads,
            model=model,
            detector=detector,
            calibration=tuple(calibration),
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        return cls(heads, recipe, device=device)

    def predict(self, video: VideoSource, *, progress: bool = False) -> VideoPrediction:
        """Predict the labels of a video, of each face and of each window.

        Args:
            video: as in `Marlin.extract_video`.
            progress: show a progress bar of windows on stderr.
        Raises:
            ConfigError: the video has no full window, and the head was fitted without partial ones.
            MarlinError: as `Marlin.extract`.
        """
        settings = replace(self.settings, reduction="none").to_dict()  # each window is scored too
        features = self.model.extract(video, progress=progress, **settings)
        return score_video(self.heads, features)


def recipe_of(
    heads: FittedHeads,
    *,
    model: str | None = None,
    detector: str | Path | FaceDetector | None = None,
    calibration: tuple[str, ...] = (),
    cache_dir: str | None = None,
    local_files_only: bool = False,
) -> Recipe:
    """The model, the detector and the settings that heads were fitted on; arguments as in `Predictor.from_head`.

    Raises:
        ConfigError: the heads do not say, or not well enough; the message says what to give.
        FeatureFileError: what they say is malformed.
    """
    identity = heads.identity
    if not identity:
        raise ConfigError(
            "the head does not say what settings it was fitted on: its dump had no settings.json; extract the dump "
            "again, and repeat the probe"
        )
    try:
        source = _source_of(identity["weights"]) if model is None else {"model": model}
        name = identity["detector"]["name"]
        if detector is None and name not in DETECTORS:
            raise ConfigError(f"the head was fitted with a detector of your own, {name!r:.80}; give it as detector=")
        return Recipe(
            **source,
            detector=name if detector is None else detector,
            dtype=str(identity["dtype"]),
            runtime=identity["runtime"]["name"],
            calibration=calibration,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            settings=_settings_of(identity["settings"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise FeatureFileError(f"what the head says of its settings is malformed: {error!r:.200}") from error


def _source_of(weights: Mapping[str, Any]) -> dict[str, Any]:
    if weights["untrained"]:
        named = weights["model"] != "custom"
        return {"model": weights["model"] if named else ModelConfig.from_dict(weights["config"]), "untrained": True}
    if weights.get("commit") is None:
        raise ConfigError(
            f"the head was fitted on weights of your own, of which it knows only the sha256, "
            f"{weights['weights_sha256']}; give their file or folder as --model, or model="
        )
    return {"model": str(weights["model"]), "revision": str(weights["commit"])}


def _settings_of(settings: Mapping[str, Any]) -> ExtractionConfig:
    if unknown := sorted(settings.keys() - {field.name for field in fields(ExtractionConfig)}):
        raise ConfigError(
            f"the head was fitted with settings that this version does not know: {', '.join(unknown)[:200]}; use the "
            "version of marlin-sdk that made its dump"
        )
    return ExtractionConfig(**settings)


def _check_same(heads: FittedHeads, identity: Mapping[str, Any]) -> None:
    here = json.loads(json.dumps(identity, default=str))
    there, here = ({k: v for k, v in one.items() if k not in _NO_DIFFERENCE} for one in (heads.identity, here))
    if differ := differences(there, here):
        listed = "\n  ".join(f"{line} here" for line in differ)
        raise ConfigError(
            f"the head was fitted on other features than this model gives:\n  {listed}\n"
            "use the model, detector and settings of the head's dump, or fit a head on features of this model"
        )


def _chosen(heads: FittedHeads, labels: Sequence[str]) -> FittedHeads:
    for pattern in labels:
        if not any(fnmatchcase(label, pattern) for label in heads.heads):
            raise ConfigError(f"the head has no label {pattern!r}; it has {', '.join(heads.heads)[:500]}")
    kept = {
        label: head
        for label, head in heads.heads.items()
        if not labels or any(fnmatchcase(label, pattern) for pattern in labels)
    }
    return replace(heads, heads=kept)
