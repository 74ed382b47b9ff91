"""What can be set: the size of the model, and how a video is turned into clips. No torch here."""

from marlin_sdk.config.extraction import (
    Compat,
    CropFace,
    ExtractionConfig,
    ExtractionSettings,
    Faces,
    Reduction,
    Tail,
    whole_number,
)
from marlin_sdk.config.keywords import read_keywords, spell_out
from marlin_sdk.config.model import PRESETS, ModelConfig, preset

__all__ = [
    "PRESETS",
    "Compat",
    "CropFace",
    "ExtractionConfig",
    "ExtractionSettings",
    "Faces",
    "ModelConfig",
    "Reduction",
    "Tail",
    "preset",
    "read_keywords",
    "spell_out",
    "whole_number",
]
