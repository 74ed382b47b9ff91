"""Configuration: the size of the model, and how videos are cut into clips. No torch here."""

from marlin_sdk.config.extraction import (
    REGION_POOLS,
    Compat,
    CropFace,
    ExtractionConfig,
    ExtractionSettings,
    Faces,
    Pool,
    Reduction,
    Tail,
    as_integer,
)
from marlin_sdk.config.keywords import document_keywords, read_keywords
from marlin_sdk.config.model import DEFAULT_MODEL, PRESETS, ModelConfig, preset

__all__ = [
    "DEFAULT_MODEL",
    "PRESETS",
    "REGION_POOLS",
    "Compat",
    "CropFace",
    "ExtractionConfig",
    "ExtractionSettings",
    "Faces",
    "ModelConfig",
    "Pool",
    "Reduction",
    "Tail",
    "as_integer",
    "document_keywords",
    "preset",
    "read_keywords",
]
