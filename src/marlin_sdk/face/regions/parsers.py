"""The built-in region parsers, and loading them by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marlin_sdk.errors import ConfigError
from marlin_sdk.face.detections import FaceDetector
from marlin_sdk.face.regions.labels import PARSERS, FaceCrops, RegionParser
from marlin_sdk.face.regions.landmarks import FAN, FivePointParser, SixtyEightPointParser
from marlin_sdk.face.regions.precomputed import PrecomputedParser
from marlin_sdk.face.regions.segformer import SEGFORMER, SegformerParser
from marlin_sdk.weights.downloads import fetch_asset

__all__ = ["check_parser", "load_parser"]


def load_parser(
    parser: str | RegionParser, *, detector: FaceDetector, device: str = "cpu", local_files_only: bool = False
) -> RegionParser:
    """Load the parser that `parser=` names, downloading its weights if it needs any.

    Args:
        parser: "landmarks" (the detector's five landmarks); "landmarks68" (face-alignment's, a download of 96 MB) or
            "landmarks68:path/to/weights"; "segformer" (a download) or "segformer:REPO" or "segformer:FOLDER";
            "precomputed:FOLDER"; "none", which calls everything background; or an object that implements
            `RegionParser`, which is returned unchanged.
        detector: finds the five landmarks.
        device: torch device, for parsers that run on torch.
        local_files_only: do not access the network.
    Raises:
        ConfigError: unknown parser.
        DownloadError: its weights cannot be downloaded.
        WeightsError: its weights are invalid.
        MissingExtraError: it needs a package that is not installed.
    """
    if not isinstance(parser, str):
        if isinstance(parser, type) or not isinstance(parser, RegionParser):
            raise ConfigError(f"parser is a {type(parser).__name__}; expected a name, or a RegionParser")
        return parser
    name, given = check_parser(parser)
    if name == "landmarks":
        return FivePointParser(detector)
    if name == "none":
        return _NoParser()
    if name == "precomputed":
        return PrecomputedParser(Path(given).expanduser())
    if name == "segformer":
        return SegformerParser(given or SEGFORMER, device=device, local_files_only=local_files_only)
    weights = Path(given).expanduser() if given else fetch_asset(FAN, local_files_only=local_files_only)
    return SixtyEightPointParser(weights, device=device)


def check_parser(parser: str) -> tuple[str, str]:
    """Parse `parser=`, without downloading anything, into the name and the text after the colon.

    Raises:
        ConfigError: unknown parser, or a missing or unexpected argument after the colon.
    """
    name, _, given = parser.partition(":")
    if name not in PARSERS:
        raise ConfigError(f"unknown region parser {parser!r}; expected one of {', '.join(PARSERS)}")
    if name == "precomputed" and not given:
        raise ConfigError('parser "precomputed" needs the folder of the label maps: "precomputed:FOLDER"')
    if name in ("landmarks", "none") and given:
        raise ConfigError(f'parser "{name}" takes no file; got {given!r}; did you mean "landmarks68:{given}"?')
    return name, given


class _NoParser:
    """Everything is background."""

    name = "none"

    def parse(self, crops: FaceCrops) -> NDArray[np.uint8]:
        return np.zeros(crops.pixels.shape[:3], dtype=np.uint8)
