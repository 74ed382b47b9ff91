"""Everything that determines features, besides the video: weights, arithmetic, detector and settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marlin_sdk.config import ExtractionConfig
from marlin_sdk.face.detectors import FaceDetector, check_detector, published_sha256
from marlin_sdk.weights.identity import file_sha256

__all__ = ["features_identity"]

# Settings that change the speed, not the features; and `identify`, for which the recogniser stands.
_NOT_COMPARED = ("batch_size", "identify")


def features_identity(
    *,
    weights: Mapping[str, Any],
    dtype: str,
    runtime: Mapping[str, Any],
    detector: str | Path | FaceDetector,
    settings: ExtractionConfig,
) -> dict[str, Any]:
    """What two extractions must have in common for their features to be comparable.

    Args:
        weights: their identity, as of `Marlin.identity`.
        dtype: of weights and arithmetic.
        runtime: of the inference backend, as of `Marlin.runtime`.
        detector: as in `Marlin.from_pretrained`.
        settings: how videos are cut and embedded.
    """
    compared = {key: value for key, value in settings.to_dict().items() if key not in _NOT_COMPARED}
    if settings.pool == "mean":
        del compared["pool"]  # as in dumps that were made before there was another
    name, files = check_detector(detector)
    file_hashes = [file_sha256(file) for file in files]
    known = dict(weights)
    if known.get("weights_sha256"):
        del known["model"]  # a path can be written in many ways; only the content matters
    return {
        "weights": known,
        "dtype": dtype,
        "runtime": {key: value for key, value in runtime.items() if key != "version"},
        "detector": {"name": name, "sha256": file_hashes or published_sha256(name)},
        "settings": compared,
    }
